"""From instructions that jump to labels to a program: distances counted, and jumps that are too far made of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nankeen.model import bpf
from nankeen.model.bpf import Instruction, Op, Program
from nankeen.model.errors import InputError


class Label:
    """A place in a program, to be put down once and jumped to from before it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """A conditional jump: to `true` or to `false`, where None goes on with the next instruction."""

    op: Op
    k: int
    true: Label | None
    false: Label | None


@dataclass(frozen=True, slots=True)
class Go:
    """A jump to a label."""

    to: Label


Item = Instruction | Branch | Go | Label


@dataclass(slots=True)
class _Layout:
    """Where everything is. Branches in `far` have a jump of their own for what a conditional one does not reach."""

    items: Sequence[Item]
    far: dict[int, tuple[bool, bool]] = field(default_factory=dict)
    at: list[int] = field(default_factory=list)
    labels: dict[Label, int] = field(default_factory=dict)

    def measure(self) -> None:
        self.at, self.labels, place = [], {}, 0
        for number, item in enumerate(self.items):
            self.at.append(place)
            if isinstance(item, Label):
                self.labels[item] = place
            else:
                place += 1 + sum(self.far.get(number, ()))

    def distance(self, number: int, label: Label | None) -> int:
        """From behind the branch, with the jumps that follow it, to the label."""
        behind = self.at[number] + 1 + sum(self.far.get(number, ()))
        return 0 if label is None else self.labels[label] - behind


def assemble(items: Sequence[Item]) -> Program:
    """The program. Raises `InputError` where it is longer than the kernel takes."""
    layout = _Layout(items)
    layout.measure()
    while _stretched(layout):
        layout.measure()
    program = tuple(instruction for number in range(len(items)) for instruction in _encoded(layout, number))
    if len(program) > bpf.LONGEST:
        raise InputError(f"it takes {len(program)} instructions, more than {bpf.LONGEST}", where="filter")
    return program


def _stretched(layout: _Layout) -> bool:
    """Gives branches that do not reach their label a jump of their own; whether there were any."""
    changed = False
    for number, item in enumerate(layout.items):
        if not isinstance(item, Branch):
            continue
        was = layout.far.get(number, (False, False))
        # Up to two jumps may come to stand between the branch and what it steps to.
        beyond = [layout.distance(number, label) + 2 > bpf.FARTHEST for label in (item.true, item.false)]
        now = (was[0] or beyond[0], was[1] or beyond[1])
        if now != was:
            layout.far[number] = now
            changed = True
    return changed


def _encoded(layout: _Layout, number: int) -> Sequence[Instruction]:
    match layout.items[number]:
        case Instruction() as instruction:
            return [instruction]
        case Go(to=label):
            return [Instruction(Op.JUMP, layout.distance(number, label))]
        case Branch() as branch:
            return _branch(layout, number, branch)
        case _:
            return []


def _branch(layout: _Layout, number: int, branch: Branch) -> Sequence[Instruction]:
    """The conditional jump, then a jump for each far label."""
    far_true, far_false = layout.far.get(number, (False, False))
    jumps = far_true + far_false
    true, false = layout.distance(number, branch.true), layout.distance(number, branch.false)
    near_true = 0 if far_true else true + jumps
    near_false = int(far_true) if far_false else false + jumps
    after = [Instruction(Op.JUMP, true + far_false)] if far_true else []
    after += [Instruction(Op.JUMP, false)] if far_false else []
    return [Instruction(branch.op, branch.k, near_true, near_false), *after]
