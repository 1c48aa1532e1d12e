"""A fork server whose workers are fake ones, so that it has nothing to import that takes time."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

KERAS = "STEPBENCH_TEST_KERAS"
"""An environment variable that names a folder with what is imported as Keras."""


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    sys.modules["tensorflow"] = ModuleType("tensorflow")
    if KERAS in os.environ:
        sys.path.insert(0, os.environ[KERAS])
    else:
        sys.modules["keras"] = ModuleType("keras")
    import fake_worker  # noqa: F401 - for all that are forked.
    import numpy  # noqa: F401, ICN001 - its state is inherited.

    from stepbench.worker import fork_server

    fork_server.WORKER = "fake_worker"
    fork_server.main()


if __name__ == "__main__":
    main()
