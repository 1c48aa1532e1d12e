"""Measuring: worker processes, the blocks they time, and the schedule that interleaves them."""
