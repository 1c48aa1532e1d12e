from __future__ import annotations

import sys
from pathlib import Path

import pytest
from invoking import Invoke


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


@pytest.fixture
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pool start fake workers."""
    from faking import FAKE

    from stepbench.engine import pool

    monkeypatch.setattr(pool, "COMMAND", FAKE)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Call the command line in this process, which may start no worker."""
    from stepbench import cli
    from stepbench.engine import pool

    def start(*_: object) -> None:
        pytest.fail("a worker was started for what could be decided without one")

    monkeypatch.setattr(pool.Worker, "__init__", start)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stepbench", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, captured.out, captured.err

    return call
