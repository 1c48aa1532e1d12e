from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from stepbench.worker.hlo import COPY, Instruction, instructions_of

FORWARD = "jit/forward/cnn/conv2d/convolution"
BACKWARD = "gradient_tape/forward/cnn/conv2d/convolution/Conv2DBackpropInput"
UPDATE = "update/adam/sub"


def made(
    name: str,
    opcode: str,
    *operands: SimpleNamespace,
    op: str = "",
    kind: str = "",
    runs: Sequence[SimpleNamespace] = (),
) -> SimpleNamespace:
    """An instruction made for the graph's operation ``op``, which runs other computations."""
    return SimpleNamespace(
        id=hash(name),
        name=name,
        opcode=opcode,
        operand_ids=[operand.id for operand in operands],
        metadata=SimpleNamespace(op_name=op, op_type=kind),
        called_computation_ids=[computation.id for computation in runs],
    )


def computed(name: str, *instructions: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(id=hash(name), instructions=instructions)


def found(*instructions: SimpleNamespace, others: Sequence[SimpleNamespace] = ()) -> dict[str, Instruction]:
    """What is told of a module of these instructions, operands first, and of computations that they run."""
    return instructions_of(SimpleNamespace(computations=[*others, computed("main", *instructions)]))


def fused(*opcodes: str, op: str = "", kind: str = "") -> SimpleNamespace:
    """A computation of a fusion, of which the last instruction was made for ``op``."""
    names = [f"inner.{number}" for number in range(len(opcodes))]
    *inner, last = zip(names, opcodes, strict=True)
    return computed("fused", *(made(name, opcode) for name, opcode in inner), made(*last, op=op, kind=kind))


def test_an_instruction_was_made_for_what_its_metadata_names_else_it_is_called_as_it_is() -> None:
    instruction = found(made("dot.1", "dot", op="forward/dense/MatMul", kind="MatMul"))["dot.1"]
    assert instruction == Instruction("dot", "forward/dense/MatMul", "MatMul", "forward")
    assert found(made("dot.1", "dot", op="loss/mul"))["dot.1"] == Instruction("dot", "loss/mul", "dot", "loss")
    assert found(made("add.7", "add"))["add.7"] == Instruction("add", "add.7", "add", "")
    assert found() == {}


@pytest.mark.parametrize(
    ("op", "part"),
    [
        (FORWARD, "forward"),
        (BACKWARD, "backward"),
        (UPDATE, "update"),
        ("metrics/mean/add", "metrics"),
        ("loss/gradient_tape/mul", "backward"),
        ("forwarding/add", ""),
        ("Sum", ""),
    ],
)
def test_the_part_is_the_scope_that_the_step_marks(op: str, part: str) -> None:
    assert found(made("add.1", "add", op=op))["add.1"].part == part


def test_a_fusion_was_made_for_what_it_says_or_ends_with_and_others_not_for_what_lies_inside() -> None:
    inner = computed(
        "fused",
        made("inner.0", "parameter"),
        made("inner.1", "multiply", op=FORWARD, kind="Conv2D"),
        made("inner.2", "add", op="forward/cnn/conv2d/BiasAdd", kind="BiasAdd"),
        made("inner.3", "maximum"),
    )
    fusion = found(made("fusion.1", "fusion", runs=[inner]), others=[inner])["fusion.1"]
    assert fusion == Instruction("fusion", "forward/cnn/conv2d/BiasAdd", "BiasAdd", "forward")
    inner = fused("multiply", "add", op=FORWARD, kind="Conv2D")
    fusion = found(made("fusion.1", "fusion", runs=[inner], op=BACKWARD, kind="ReluGrad"), others=[inner])["fusion.1"]
    assert (fusion.name, fusion.kind) == (BACKWARD, "ReluGrad")
    inner = computed("reducer", made("inner.0", "add", op=FORWARD, kind="Conv2D"))
    reduction = found(made("reduce.1", "reduce", runs=[inner]), others=[inner])["reduce.1"]
    assert reduction == Instruction("reduce", "reduce.1", "reduce", "")


def test_an_instruction_keeps_its_origin_or_has_that_of_what_uses_it_directly_or_not() -> None:
    iota = made("iota.1", "iota")
    broadcast = made("broadcast.1", "broadcast", iota)
    user = made("custom-call.1", "custom-call", broadcast, op=BACKWARD, kind="Conv2DBackpropInput")
    instructions = found(iota, broadcast, user)
    assert instructions["broadcast.1"] == Instruction("broadcast", BACKWARD, "Conv2DBackpropInput", "backward")
    assert instructions["iota.1"] == Instruction("iota", BACKWARD, "Conv2DBackpropInput", "backward")
    relu = made("maximum.1", "maximum", op="forward/Relu", kind="Relu")
    instructions = found(relu, made("dot.1", "dot", relu, op=BACKWARD, kind="MatMul"))
    assert instructions["maximum.1"].name == "forward/Relu"


def test_what_only_the_update_uses_is_the_end_of_the_backward_pass_and_no_copy_if_transposed() -> None:
    gradient = made("convolution.6", "convolution")
    instructions = found(gradient, made("subtract.1", "subtract", gradient, op=UPDATE, kind="Sub"))
    assert instructions["convolution.6"] == Instruction("convolution", "convolution.6", "convolution", "backward")
    assert instructions["subtract.1"].part == "update"
    gradient = made("convolution.6", "convolution")
    transposed = made("transpose.3", "transpose", gradient)
    instructions = found(gradient, transposed, made("subtract.1", "subtract", transposed, op=UPDATE, kind="Sub"))
    assert instructions["convolution.6"] == Instruction("convolution", "convolution.6", "convolution", "backward")
    assert instructions["transpose.3"] == Instruction("transpose", "transpose.3", COPY, "backward")


@pytest.mark.parametrize("opcode", ["copy", "transpose", "bitcast", "reshape", "reverse"])
def test_what_only_moves_data_is_a_copy_and_keeps_its_place(opcode: str) -> None:
    moved = made("moved.1", opcode, op=FORWARD, kind="Conv2D")
    assert found(moved)["moved.1"] == Instruction(opcode, FORWARD, COPY, "forward")
    unnamed = made("moved.1", opcode)
    instructions = found(unnamed, made("conv.1", "convolution", unnamed, op=FORWARD, kind="Conv2D"))
    assert instructions["moved.1"] == Instruction(opcode, FORWARD, COPY, "forward")


@pytest.mark.parametrize(
    ("opcodes", "is_copy"),
    [
        (("parameter", "bitcast", "transpose"), True),
        (("parameter", "constant", "copy"), True),
        (("parameter", "transpose", "add"), False),
        (("parameter", "convert"), False),
        (("parameter", "constant"), False),
    ],
)
def test_a_fusion_is_a_copy_if_all_that_it_fuses_is(opcodes: tuple[str, ...], *, is_copy: bool) -> None:
    inner = fused(*opcodes, op=FORWARD, kind="Conv2D")
    fusion = found(made("fusion.1", "fusion", runs=[inner]), others=[inner])["fusion.1"]
    assert (fusion.kind == COPY) == is_copy
    assert fusion.part == "forward"


@pytest.mark.parametrize(
    ("opcode", "is_container"),
    [("while", True), ("call", True), ("conditional", True), ("fusion", False), ("reduce", False), ("dot", False)],
)
def test_what_runs_instructions_that_are_seen_by_themselves_is_a_container(opcode: str, *, is_container: bool) -> None:
    body = computed("body", made("add.1", "add", op=UPDATE, kind="AddV2"))
    instructions = found(made("runner.1", opcode, runs=[body]), others=[body])
    assert instructions["runner.1"].is_container == is_container
    assert instructions["add.1"] == Instruction("add", UPDATE, "AddV2", "update")
