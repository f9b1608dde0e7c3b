"""Classic BPF (linux/filter.h; McCanne and Jacobson, 1993): programs that the kernel runs on packets, as values.

A program has an accumulator A, an index register X and 16 words of scratch memory. It only jumps forward, and returns
how many octets of the packet are to be kept: 0 for none. A load beyond the packet's end ends it with 0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

LONGEST = 4096
"""BPF_MAXINSNS: instructions of one program."""
FARTHEST = 255
"""Instructions that a conditional jump can step over; `JUMP` has no such bound."""
MEMORY = 16
"""BPF_MEMWORDS."""

_INSTRUCTION = struct.Struct("=HBBI")


class Op(IntEnum):
    """The opcodes that nankeen uses: class, size or operation, and mode in one number."""

    LOAD_WORD = 0x20
    """A = the 32 bits at k; as all loads from the packet in network byte order."""
    LOAD_HALF = 0x28
    LOAD_BYTE = 0x30
    LOAD_WORD_AT_X = 0x40
    """A = the 32 bits at X + k."""
    LOAD_HALF_AT_X = 0x48
    LOAD_BYTE_AT_X = 0x50
    LOAD_CONSTANT = 0x00
    LOAD_LENGTH = 0x80
    """A = the packet's length in octets."""
    LOAD_MEMORY = 0x60
    LOAD_X_MEMORY = 0x61
    STORE = 0x02
    """M[k] = A."""
    ADD = 0x04
    AND = 0x54
    LEFT = 0x64
    RIGHT = 0x74
    ADD_X = 0x0C
    SUBTRACT_X = 0x1C
    TO_X = 0x07
    """X = A."""
    JUMP = 0x05
    """Steps over k instructions."""
    JUMP_EQUAL = 0x15
    """Steps over jt instructions where A = k, else over jf."""
    JUMP_GREATER = 0x25
    JUMP_AT_LEAST = 0x35
    JUMP_ANY_BIT = 0x45
    JUMP_GREATER_X = 0x2D
    """As `JUMP_GREATER`, compared with X."""
    JUMP_AT_LEAST_X = 0x3D
    RETURN = 0x06


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction (struct sock_filter)."""

    op: Op
    k: int = 0
    jt: int = 0
    jf: int = 0

    def encode(self) -> bytes:
        """In the host's byte order."""
        return _INSTRUCTION.pack(self.op, self.jt, self.jf, self.k)


Program = tuple[Instruction, ...]


def encode(program: Program) -> bytes:
    """The array of struct sock_filter that a socket option takes."""
    return b"".join(instruction.encode() for instruction in program)
