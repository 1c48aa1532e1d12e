"""An ordinary training script, run as it stands up to its first ``fit()``: what it hands to ``fit`` is the workload."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from stepbench.errors import StepbenchError
from stepbench.training.workload import Training, Workload

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Script:
    """A script and its command line."""

    path: Path
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its cases are called."""
        return self.path.stem


@dataclass(frozen=True, eq=False)
class Reached:
    """What a script had made when it called ``fit``."""

    model: keras.Model
    arguments: dict[str, Any]
    """Of ``fit``, by name; those that were not given are absent."""
    seconds: float
    """That the script took to get there."""
    policy: str | None
    """The dtype policy that it set itself, which gave way to the case's."""
    seeded: bool
    """Whether it seeds its random numbers itself, so that no seed of ours reaches its weights."""


class _Tee(io.TextIOBase):
    """Hands on what is written, and remembers the last line of it."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self.last_line = ""

    def write(self, text: str) -> int:
        """Take a text."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self.last_line = lines[-1] if lines else self.last_line
        return self._output.write(text)


class _FitReached(BaseException):
    """Unwinds a script; no ``except Exception`` of its own is to stop it."""


def run_to_fit(script: Script) -> Reached:
    """Run a script, as ``__main__``, until it calls ``fit`` on a Keras model.

    Raises:
        StepbenchError: when it raises or ends before, or reads what nobody writes.
    """
    reached: list[Reached] = []
    started = time.perf_counter()
    errors = _Tee(sys.stderr)
    with _as_main(script) as module, _watched(reached, started), contextlib.redirect_stderr(errors):
        try:
            source = script.path.read_text(encoding="utf-8")
            exec(compile(source, str(script.path), "exec"), module.__dict__)  # noqa: S102 - it is what is asked for.
        except _FitReached:
            return reached[0]
        except SystemExit as error:
            said = error.code if isinstance(error.code, str) else errors.last_line or f"exit code {error.code}"
            raise StepbenchError(
                f"{script.path.name} exits before it calls fit() ({said}): "
                "give it the arguments that it needs with --script-args."
            ) from error
        except EOFError as error:
            raise StepbenchError(
                f"{script.path.name} reads from the standard input, where nothing is: have it take arguments."
            ) from error
        except OSError as error:
            raise StepbenchError(f"{script.path.name} raised {type(error).__name__}: {error}.") from error
        except Exception as error:
            raise StepbenchError(
                f"{script.path.name} raised {type(error).__name__} before it called fit(): {error}."
            ) from error
    if defined := [name for name, found in vars(module).items() if isinstance(found, Workload | Training)]:
        raise StepbenchError(f"{script.path.name} defines a workload: use --workload {script.path}:{defined[0]}.")
    raise StepbenchError(
        f"{script.path.name} ended without calling fit() on a Keras model: name a script that does, or write a "
        "stepbench.Training for a loop of its own."
    )


@contextmanager
def _as_main(script: Script) -> Iterator[ModuleType]:
    """Have the process look to the script as if it had been started with it."""
    path = script.path.resolve()
    if not path.is_file():
        raise StepbenchError(f"There is no file {path}: give the path of the training script.")
    module = ModuleType("__main__")
    module.__file__ = str(path)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    arguments, main = sys.argv, sys.modules["__main__"]
    sys.argv, sys.modules["__main__"] = [str(path), *script.arguments], module
    try:
        yield module
    finally:
        sys.argv, sys.modules["__main__"] = arguments, main


@contextmanager
def _watched(reached: list[Reached], started: float) -> Iterator[None]:
    """Have ``fit`` end the script, and the case decide the dtype policy."""
    import keras
    import tensorflow as tf

    seen: dict[str, Any] = {"policy": None, "seeded": False}
    signature = inspect.signature(keras.Model.fit)

    def fit(model: keras.Model, *args: Any, **kwargs: Any) -> None:
        given = dict(signature.bind(model, *args, **kwargs).arguments)
        given.pop("self")
        seconds = time.perf_counter() - started
        reached.append(Reached(model, given, seconds, seen["policy"], seen["seeded"]))
        raise _FitReached

    def set_policy(policy: Any) -> None:
        seen["policy"] = getattr(policy, "name", policy)

    def seeding(original: Callable[..., Any]) -> Callable[..., Any]:
        def seed(*args: Any, **kwargs: Any) -> Any:
            seen["seeded"] = True
            return original(*args, **kwargs)

        return seed

    replaced = (
        (keras.Model, "fit", fit),
        *(
            (module, name, set_policy)
            for module in (keras.config, keras.mixed_precision)
            for name in ("set_dtype_policy", "set_global_policy")
            if hasattr(module, name)
        ),
        (keras.utils, "set_random_seed", seeding(keras.utils.set_random_seed)),
        (tf.random, "set_seed", seeding(tf.random.set_seed)),
    )
    originals = [(owner, name, vars(owner).get(name)) for owner, name, _ in replaced]
    for owner, name, stand_in in replaced:
        setattr(owner, name, stand_in)
    try:
        yield
    finally:
        for owner, name, original in originals:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
