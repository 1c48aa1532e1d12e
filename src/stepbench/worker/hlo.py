"""What the instructions of an XLA module came from, by the module's definition (an HloModuleProto).

The compiler keeps for most instructions the operation of the TensorFlow graph that they were made for. Those that it
adds on its own (layout copies, index ranges, rewritten convolutions) have none; they belong with what uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepbench.records.trace import part_of

_CONTAINERS = {"while", "call", "conditional"}
"""Instructions that run others, which are seen by themselves."""
_COPYING = {"bitcast", "copy", "reshape", "reverse", "transpose"}
COPY = "copy"
"""The kind of instructions that only move data about."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, and the graph operation that it was made for."""

    opcode: str
    name: str
    """Of the graph operation; the instruction's own for want of one."""
    kind: str
    """The type of the graph operation; the opcode for want of one."""
    part: str

    @property
    def is_container(self) -> bool:
        """Whether its time is that of other instructions."""
        return self.opcode in _CONTAINERS


def instructions_of(module: Any) -> dict[str, Instruction]:
    """All instructions of ``module`` by their names, which are unique in it."""
    computations = {computation.id: computation for computation in module.computations}
    found: dict[str, Instruction] = {}
    for computation in module.computations:
        found |= _of_computation(computation, computations)
    return found


def _of_computation(computation: Any, computations: Mapping[int, Any]) -> dict[str, Instruction]:
    by_id = {instruction.id: instruction for instruction in computation.instructions}
    origins = {key: _own_origin(instruction, computations) for key, instruction in by_id.items()}
    # Operands stand before their users, so going backwards a user is settled before what it uses.
    for user in reversed(computation.instructions):
        for operand in user.operand_ids:
            origins[operand] = origins[operand] or _inherited(by_id[operand], origins[user.id])
    found = {}
    for key, instruction in by_id.items():
        name, kind, part = origins[key] or (instruction.name, instruction.opcode, "")
        kind = COPY if _opcodes(instruction, computations) <= _COPYING else kind
        found[instruction.name] = Instruction(instruction.opcode, name, kind, part)
    return found


Origin = tuple[str, str, str]
"""Name, kind and part."""


def _own_origin(instruction: Any, computations: Mapping[int, Any]) -> Origin | None:
    for candidate in (instruction, *reversed(_fused(instruction, computations))):
        if name := candidate.metadata.op_name:
            return name, candidate.metadata.op_type or instruction.opcode, part_of(name)
    return None


def _inherited(instruction: Any, user: Origin | None) -> Origin | None:
    """The origin of an instruction that has none of its own.

    A gradient that reaches the update without a name is the backward pass's last work, not the update's first. What is
    only moved about afterwards is not that move.
    """
    if user is None:
        return None
    _, kind, part = user
    if part != "update" and kind not in _COPYING:
        return user
    return instruction.name, instruction.opcode, "backward" if part == "update" else part


def _fused(instruction: Any, computations: Mapping[int, Any]) -> list[Any]:
    if instruction.opcode != "fusion":
        return []
    return [inner for key in instruction.called_computation_ids for inner in computations[key].instructions]


def _opcodes(instruction: Any, computations: Mapping[int, Any]) -> set[str]:
    fused = [inner.opcode for inner in _fused(instruction, computations)]
    return set(fused) - {"parameter", "constant"} or {instruction.opcode}
