"""What a worker answers where an order raises: one typed failure, whatever users' code throws."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import tensorflow as tf

from stepbench.errors import NotApplicableError, StepbenchError
from stepbench.records.cases import GRAPH
from stepbench.records.protocol import Close, Describe, Failed, Order, Refused
from stepbench.records.run import Failure, FailureKind
from stepbench.worker.main import _answer

pytestmark = pytest.mark.tensorflow

Exhausted, Unimplemented, Invalid = (
    getattr(tf.errors, f"{name}Error") for name in ("ResourceExhausted", "Unimplemented", "InvalidArgument")
)


class Raising:
    """Takes the place of what carries out orders."""

    def __init__(self, error: Exception, *, claims_xla: bool = False) -> None:
        self._error = error
        self.claims_xla = claims_xla

    def carry_out(self, _: Order) -> NoReturn:
        raise self._error


def answered(error: Exception, order: Order, *, claims_xla: bool = False) -> Any:
    return _answer(Raising(error, claims_xla=claims_xla), order)  # type: ignore[arg-type] # It is asked nothing else.


@pytest.mark.parametrize(
    ("error", "claims_xla", "kind", "message"),
    [
        (MemoryError(), False, FailureKind.OUT_OF_MEMORY, "Python ran out of memory."),
        (Exhausted(None, None, "planted"), True, FailureKind.OUT_OF_MEMORY, "ResourceExhaustedError: planted"),
        (Unimplemented(None, None, "planted"), False, FailureKind.UNSUPPORTED, "UnimplementedError: planted"),
        (Unimplemented(None, None, "no HLO"), True, FailureKind.COMPILE_ERROR, "UnimplementedError: no HLO"),
        (Invalid(None, None, "XLA said no"), True, FailureKind.COMPILE_ERROR, "InvalidArgumentError: XLA said no"),
        (Invalid(None, None, "XLA said no"), False, FailureKind.ERROR, "InvalidArgumentError: XLA said no"),
        (Invalid(None, None, "planted"), True, FailureKind.ERROR, "InvalidArgumentError: planted"),
        (ValueError("XLA said no"), True, FailureKind.ERROR, "ValueError: XLA said no"),
        (ValueError("\x1b[1mplanted\x1b[0m in\n  it"), False, FailureKind.ERROR, "ValueError: planted in it"),
        (NotApplicableError("planted"), False, FailureKind.UNSUPPORTED, "planted"),
        (StepbenchError("planted"), False, FailureKind.ERROR, "planted"),
    ],
)  # fmt: skip
def test_what_users_code_raises_is_one_typed_failure(
    error: Exception, claims_xla: bool, kind: FailureKind, message: str  # noqa: FBT001 - pytest gives it by name.
) -> None:  # fmt: skip
    assert answered(error, Close(input_pipeline=False), claims_xla=claims_xla) == Failed(Failure(kind, message))


def test_wrong_use_that_is_found_before_anything_is_measured_is_refused() -> None:
    order = Describe(("nothing",), (GRAPH,), (), "synthetic")
    assert answered(StepbenchError("There is no workload."), order) == Refused("There is no workload.")
