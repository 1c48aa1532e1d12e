from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Importing a test module that needs TensorFlow takes seconds, even if none of its tests is then selected."""
    if collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    unwanted = {
        "not tensorflow": "pytest.mark.tensorflow" in text,
        "alone": "pytest.mark.alone" not in text,
        "not alone and not slow": "pytest.mark.alone" in text or "pytest.mark.slow" in text,
    }
    return unwanted.get(config.option.markexpr) or None
