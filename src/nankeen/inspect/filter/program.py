"""A filter's program in the making: what it knows of a frame, and where in it reading stands.

Everything is put down in scratch memory. Every load is preceded by a look at how much is there: one beyond the end
would end the program, and with it a `not` that ought to hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from nankeen.inspect.filter.assemble import Branch, Go, Item, Label
from nankeen.model.bpf import Instruction, Op

OUTER, INNER = 0, 1
NO_PROTOCOL = 256
"""What no IP packet carries."""


class Fact(IntEnum):
    """What is known of each level; the words of scratch memory."""

    ETHERTYPE = 0
    """Of its network header, where that is sound; else 0."""
    NETWORK = 1
    """Where that begins."""
    PROTOCOL = 2
    """What it carries, behind extension headers; else `NO_PROTOCOL`."""
    PORTS = 3
    """Where a sound header of TCP or UDP begins; else 0."""


_FACTS = len(Fact)
AT, END, LENGTH = 2 * _FACTS, 2 * _FACTS + 1, 2 * _FACTS + 2
"""Further words: where reading stands, where it must end, and a length."""


def place(level: int, fact: Fact) -> int:
    """The word of scratch memory that holds a fact."""
    return level * _FACTS + fact


@dataclass(slots=True)
class Code:
    """A program in the making."""

    items: list[Item] = field(default_factory=list)

    def do(self, op: Op, k: int = 0) -> None:
        self.items.append(Instruction(op, k))

    def load(self, word: int) -> None:
        self.do(Op.LOAD_MEMORY, word)

    def load_x(self, word: int) -> None:
        self.do(Op.LOAD_X_MEMORY, word)

    def store(self, word: int) -> None:
        self.do(Op.STORE, word)

    def set(self, word: int, value: int) -> None:
        self.do(Op.LOAD_CONSTANT, value)
        self.store(word)

    def put(self, label: Label) -> None:
        self.items.append(label)

    def go(self, label: Label) -> None:
        self.items.append(Go(label))

    def branch(self, op: Op, k: int, true: Label | None = None, false: Label | None = None) -> None:
        self.items.append(Branch(op, k, true, false))


def found_network(code: Code, level: int, ethertype: int) -> None:
    code.load(AT)
    code.store(place(level, Fact.NETWORK))
    code.set(place(level, Fact.ETHERTYPE), ethertype)


def version(code: Code) -> None:
    """A = the first four bits at `AT`, which is in X then."""
    code.load_x(AT)
    code.do(Op.LOAD_BYTE_AT_X, 0)
    code.do(Op.RIGHT, 4)


def step(code: Code, octets: int) -> None:
    code.load(AT)
    code.do(Op.ADD, octets)
    code.store(AT)


def need(code: Code, octets: int, otherwise: Label) -> None:
    """Goes on where so many octets are left at `AT`, which is never behind `END`."""
    left(code)
    code.branch(Op.JUMP_AT_LEAST, octets, None, otherwise)


def need_length(code: Code, otherwise: Label) -> None:
    """The same of `LENGTH` octets."""
    left(code)
    code.load_x(LENGTH)
    code.branch(Op.JUMP_AT_LEAST_X, 0, None, otherwise)


def left(code: Code) -> None:
    code.load(END)
    code.load_x(AT)
    code.do(Op.SUBTRACT_X)


def bound(code: Code, header: int) -> None:
    """`END` is at most A + `header` octets behind `AT`: the rest is padding."""
    longer = Label()
    code.load_x(AT)
    code.do(Op.ADD_X)
    code.do(Op.ADD, header)
    code.load_x(END)
    code.branch(Op.JUMP_GREATER_X, 0, longer)
    code.store(END)
    code.put(longer)
