"""The Internet checksum (RFC 1071), kept as a number modulo 65,535.

Words are summed in the byte order of this machine, because a sum in one order is the sum in the other with its bytes
swapped (RFC 1071 §2 B). `turned` brings a number from network order into this order, and back.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_LITTLE = sys.byteorder == "little"
_SHORT = 128
"""Octets up to which `struct` is faster than NumPy."""

Buffer = bytearray | memoryview
Words = NDArray[np.uint16]


def turned(number: int) -> int:
    """A 16-bit number with its bytes in the other order, where this machine's is not the network's."""
    return (number & 0xFF) << 8 | number >> 8 if _LITTLE else number


def total(memory: Buffer, start: int, end: int) -> int:
    """The sum of the words from `start` to `end`, in this machine's order; an odd octet at the end is padded."""
    length = end - start
    odd = length & 1
    if length <= _SHORT:
        found = sum(_words(length // 2)(memory, start))
    else:
        found = int(np.add.reduce(np.frombuffer(memory, np.uint16, length // 2, start), dtype=np.uint32))
    return found + (memory[end - 1] << (0 if _LITTLE else 8)) if odd else found


def put(memory: bytearray, at: int, number: int) -> None:
    """Writes the checksum that a sum, in this machine's order, asks for."""
    _WORD.pack_into(memory, at, -number % 65535)


_WORD = struct.Struct("=H")
_READERS = tuple(struct.Struct(f"={count}H").unpack_from for count in range(_SHORT // 2 + 1))


def _words(count: int) -> Callable[..., tuple[int, ...]]:
    return _READERS[count]
