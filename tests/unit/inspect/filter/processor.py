"""A processor for programs of classic BPF, stricter than the kernel's: it fails where the kernel would refuse."""

from __future__ import annotations

import operator
from collections.abc import Callable

from nankeen.model.bpf import MEMORY, Instruction, Op, Program

LOADS = {Op.LOAD_WORD: 4, Op.LOAD_HALF: 2, Op.LOAD_BYTE: 1}
LOADS_AT_X = {Op.LOAD_WORD_AT_X: 4, Op.LOAD_HALF_AT_X: 2, Op.LOAD_BYTE_AT_X: 1}
CALCULATIONS: dict[Op, Callable[[int, int], int]] = {
    Op.ADD: operator.add,
    Op.AND: operator.and_,
    Op.LEFT: operator.lshift,
    Op.RIGHT: operator.rshift,
}
WITH_X: dict[Op, Callable[[int, int], int]] = {Op.ADD_X: operator.add, Op.SUBTRACT_X: operator.sub}
COMPARISONS: dict[Op, Callable[[int, int], object]] = {
    Op.JUMP_EQUAL: operator.eq,
    Op.JUMP_GREATER: operator.gt,
    Op.JUMP_AT_LEAST: operator.ge,
    Op.JUMP_ANY_BIT: operator.and_,
}
COMPARISONS_WITH_X: dict[Op, Callable[[int, int], object]] = {
    Op.JUMP_GREATER_X: operator.gt,
    Op.JUMP_AT_LEAST_X: operator.ge,
}


class LoadError(Exception):
    """A load beyond the packet's end, which ends a program."""


def run(program: Program, data: bytes) -> int:
    """What the program returns for a packet. Raises `LoadError`."""
    processor = _Processor(data)
    at = 0
    while program[at].op is not Op.RETURN:
        at += 1 + processor.do(program[at])
    return program[at].k


class _Processor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.accumulator = self.index = 0
        self.memory: list[int | None] = [None] * MEMORY

    def do(self, step: Instruction) -> int:
        """How many instructions to step over."""
        op = step.op
        if op is Op.JUMP:
            return step.k
        if op in COMPARISONS or op in COMPARISONS_WITH_X:
            return step.jt if self.compare(step) else step.jf
        if op is Op.STORE:
            self.memory[step.k] = self.accumulator
        elif op is Op.TO_X:
            self.index = self.accumulator
        elif op is Op.LOAD_X_MEMORY:
            self.index = self.word(step.k)
        else:
            self.accumulator = self.loaded(step) & 0xFFFF_FFFF
        return 0

    def compare(self, step: Instruction) -> bool:
        if step.op in COMPARISONS:
            return bool(COMPARISONS[step.op](self.accumulator, step.k))
        return bool(COMPARISONS_WITH_X[step.op](self.accumulator, self.index))

    def loaded(self, step: Instruction) -> int:
        op, k = step.op, step.k
        if op in LOADS:
            return self.octets(k, LOADS[op])
        if op in LOADS_AT_X:
            return self.octets(self.index + k, LOADS_AT_X[op])
        if op in CALCULATIONS:
            return CALCULATIONS[op](self.accumulator, k)
        if op in WITH_X:
            return WITH_X[op](self.accumulator, self.index)
        if op is Op.LOAD_MEMORY:
            return self.word(k)
        assert op in (Op.LOAD_CONSTANT, Op.LOAD_LENGTH)
        return len(self.data) if op is Op.LOAD_LENGTH else k

    def octets(self, start: int, length: int) -> int:
        if start + length > len(self.data):
            raise LoadError(start, length)
        return int.from_bytes(self.data[start : start + length], "big")

    def word(self, number: int) -> int:
        value = self.memory[number]
        assert value is not None, f"M[{number}] is read before it is written"
        return value
