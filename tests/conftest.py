from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Importing a test module that needs TensorFlow takes seconds, even if none of its tests is then selected."""
    if config.option.markexpr != "not tensorflow" or collection_path.suffix != ".py":
        return None
    return "pytest.mark.tensorflow" in collection_path.read_text() or None
