"""What ``--data`` resolves to, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepbench.errors import StepbenchError
from stepbench.training.data import load_images, resolve_source
from stepbench.training.workload import DataSource

BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def published(folder: Path, suffix: str = "") -> Path:
    """A folder that looks like a published one; resolving does not read its files."""
    folder.mkdir(parents=True)
    for name in BATCHES:
        (folder / f"{name}{suffix}").touch()
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing has been downloaded."""
    return {"KERAS_HOME": str(tmp_path / "keras")}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A Keras whose every download fails; the calls made to it."""
    calls: list[dict[str, object]] = []

    def get_file(fname: str, **arguments: object) -> str:
        calls.append({"fname": fname, **arguments})
        print("Downloading data")  # noqa: T201 - Keras does.
        raise Exception("URL fetch failure")  # noqa: TRY002 - the type that Keras raises.

    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(utils=SimpleNamespace(get_file=get_file)))
    return calls


def test_synthetic_is_itself_whatever_the_environment_holds() -> None:
    assert resolve_source("synthetic", environ={"STEPBENCH_DATA": "/nowhere"}) == DataSource("synthetic")


def test_auto_is_synthetic_where_nothing_is_found(environ: dict[str, str]) -> None:
    assert resolve_source("auto", limit=7, environ=environ) == DataSource("synthetic", None, 7)


@pytest.mark.parametrize("option", ["auto", "cifar10"])
@pytest.mark.parametrize("place", ["cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-py"])
def test_the_keras_cache_is_found(environ: dict[str, str], option: str, place: str) -> None:
    folder = published(Path(environ["KERAS_HOME"]) / "datasets" / place)
    assert resolve_source(option, environ=environ) == DataSource("cifar10", folder)


def test_the_keras_cache_is_looked_for_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = published(tmp_path / ".keras/datasets/cifar-10-batches-py-target/cifar-10-batches-py")
    assert resolve_source("auto", environ={}).folder == folder


def test_a_half_extracted_cache_is_none(environ: dict[str, str], no_network: list[dict[str, object]]) -> None:
    folder = published(Path(environ["KERAS_HOME"]) / "datasets/cifar-10-batches-py-target/cifar-10-batches-py")
    (folder / "data_batch_5").unlink()
    assert resolve_source("auto", environ=environ).name == "synthetic"
    with pytest.raises(StepbenchError, match="downloaded"):
        resolve_source("cifar10", environ=environ)
    assert len(no_network) == 1


@pytest.mark.parametrize("option", ["auto", "cifar10"])
@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_stepbench_data_comes_before_the_cache(
    tmp_path: Path, environ: dict[str, str], option: str, suffix: str
) -> None:
    published(Path(environ["KERAS_HOME"]) / "datasets" / "cifar-10-batches-py")
    folder = published(tmp_path / "named" / f"cifar-10-batches-{'bin' if suffix else 'py'}", suffix)
    for named in (folder, folder.parent):
        assert resolve_source(option, environ={**environ, "STEPBENCH_DATA": str(named)}).folder == folder


@pytest.mark.parametrize("option", ["auto", "cifar10"])
@pytest.mark.parametrize("named", ["{}", "{}/missing", "{}/file", "{}/empty", "x" * 5000, "a\0b"])
def test_a_wrong_stepbench_data_is_refused(tmp_path: Path, environ: dict[str, str], option: str, named: str) -> None:
    published(Path(environ["KERAS_HOME"]) / "datasets" / "cifar-10-batches-py")
    (tmp_path / "file").touch()
    (tmp_path / "empty" / "cifar-10-batches-py").mkdir(parents=True)
    with pytest.raises(StepbenchError, match=r"^STEPBENCH_DATA must be unset or name a folder"):
        resolve_source(option, environ={**environ, "STEPBENCH_DATA": named.format(tmp_path)})


def test_an_empty_stepbench_data_is_unset(environ: dict[str, str]) -> None:
    assert resolve_source("auto", environ={**environ, "STEPBENCH_DATA": ""}).name == "synthetic"


def test_a_folder_is_found_by_its_files_from_wherever_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published(tmp_path / "cifar-10-batches-py")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    assert resolve_source(".", environ={}) == DataSource("cifar10", folder)
    assert resolve_source("link", limit=3, environ={}) == DataSource("cifar10", tmp_path / "link", 3)


@pytest.mark.parametrize("option", ["", "mnist", "Auto", "/nowhere", "/etc/passwd", "x" * 5000, "a\0b"])
def test_anything_else_is_refused(option: str) -> None:
    with pytest.raises(StepbenchError, match=r"^--data must be auto, cifar10, synthetic or a folder"):
        resolve_source(option, environ={})


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(StepbenchError, match=f"at least 1 training example, not {limit}"):
        resolve_source("synthetic", limit=limit, environ={})
    with pytest.raises(StepbenchError, match=f"at least 1 training example, not {limit}"):
        load_images(DataSource("synthetic", limit=limit))


@pytest.mark.parametrize("source", [DataSource("cifar10"), DataSource("mnist")])
def test_a_source_that_resolve_source_does_not_return_is_refused(source: DataSource) -> None:
    with pytest.raises(StepbenchError, match=repr(source.name)):
        load_images(source)


def test_a_failed_download_says_what_to_do(
    environ: dict[str, str], no_network: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StepbenchError, match=r"URL fetch failure.*STEPBENCH_DATA.*--data synthetic"):
        resolve_source("cifar10", environ=environ)
    assert no_network[0]["cache_dir"] == environ["KERAS_HOME"]
    assert capsys.readouterr().out == "", "stdout is for the command's answer"


def test_the_download_is_the_one_of_keras(environ: dict[str, str], no_network: list[dict[str, object]]) -> None:
    with pytest.raises(StepbenchError):
        resolve_source("cifar10", environ=environ)
    keras_loader = Path(str(distribution("keras").locate_file("keras/src/datasets/cifar10.py"))).read_text()
    for argument in ("fname", "origin", "file_hash"):
        assert f'"{no_network[0][argument]}"' in keras_loader
    assert no_network[0]["extract"] is True


def test_a_download_is_used_from_where_keras_put_it(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published(tmp_path / "extracted" / "cifar-10-batches-py")
    utils = SimpleNamespace(get_file=lambda *_, **__: str(folder.parent))
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(utils=utils))
    assert resolve_source("cifar10", environ=environ) == DataSource("cifar10", folder)


def test_resolving_loads_neither_numpy_nor_tensorflow(tmp_path: Path) -> None:
    folder = published(tmp_path / "cifar-10-batches-py")
    code = (
        "import sys; from stepbench.training.data import resolve_source; resolve_source(sys.argv[1]);"
        "print(*{'numpy', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("\n", "")
