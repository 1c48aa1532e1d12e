"""Frozen structures, the wire protocol between parent and worker, and the store that keeps runs."""
