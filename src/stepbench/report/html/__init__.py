"""One page a run, a comparison or a gate, which opens from disk without a network."""

import logging

# What it says about its caches and about fonts is not for those who read reports.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
