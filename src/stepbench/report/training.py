"""What ``stepbench train`` shows: the model, a bar an epoch, and a line for each epoch's end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stepbench.judge.reference_curve import Curves, outside
from stepbench.report.formats import number

if TYPE_CHECKING:
    from stepbench.training.evaluation import Evaluation
    from stepbench.training.loop import Epoch


class TrainingView:
    """Writes results to the output, and the bar, which is gone when an epoch is done, to the error output."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, model: Any, case_id: str, data: str, epochs: int) -> None:
        """Show the model's layers, if there is a Keras model, and what will be done."""
        if model is not None:
            model.summary(print_fn=_say)
        _say(f"{case_id}, data {data}, {epochs} epoch{'s' * (epochs > 1)}")

    def restored(self, epochs: Sequence[Epoch]) -> None:
        """Show the epochs that a checkpoint holds."""
        for epoch in epochs:
            self.epoch_done(epoch)
        if epochs:
            _say(f"(continued from the checkpoint of epoch {len(epochs)})")

    @contextmanager
    def epoch(self, number_of_epoch: int, steps: int) -> Iterator[Callable[[int], None]]:
        """Show a bar that the yielded function moves on by a number of steps."""
        task = self._bar.add_task(f"Epoch {number_of_epoch}", total=steps)
        self._bar.start()
        yield lambda done: self._bar.advance(task, done)
        self._bar.stop()
        self._bar.remove_task(task)

    def epoch_done(self, epoch: Epoch) -> None:
        """Show the figures of an epoch."""
        _say(f"Epoch {epoch.number}, {_figures(epoch.figures)}")

    def end(self, epochs: Sequence[Epoch], evaluation: Evaluation) -> None:
        """Show the evaluation and the speed."""
        if evaluation.figures:
            examples = f" of {evaluation.examples} examples" if evaluation.examples else ""
            _say(f"Test set{examples}, {_figures(evaluation.figures)}")
        seconds = sum(epoch.seconds for epoch in epochs)
        examples = sum(epoch.examples for epoch in epochs)
        _say(f"Trained on {number(examples / seconds)} examples a second, first call and input included.")

    def compare(self, losses: Sequence[float], curves: Curves) -> None:
        """Show where the losses lie against the reference band."""
        strays = outside(losses, curves)
        if strays:
            _say(f"Outside of the band that holds 95 % of seeds: {', '.join(strays)}.")
        else:
            _say("Every epoch's loss lies within the band that holds 95 % of seeds.")


def _figures(figures: Mapping[str, float]) -> str:
    """Each by its name: an accuracy in percent, all else in its own unit."""
    if not figures:
        return "no figures: the step updates no metrics"
    in_order = sorted(figures.items(), key=lambda item: item[0] != "loss")
    return ", ".join(
        f"Accuracy: {100 * value:.2f}%" if name == "accuracy" else f"{name.capitalize()}: {value:#.4g}"
        for name, value in in_order
    )


def _say(line: str, **_: object) -> None:
    print(line, file=sys.stdout, flush=True)  # noqa: T201 - this is where it is printed.
