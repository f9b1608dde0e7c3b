"""Filters in the kernel: it takes every program, and keeps what the filter means."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.inspect.filter import Expression, compile_filter
from nankeen.model import bpf
from nankeen.model.packet import Header, LinkType, dissect, encode
from tests.unit.inspect.filter.oracle import damaged, expressions, holds
from tests.unit.model.packet.strategies import frames, payloads

SO_ATTACH_FILTER = 26


@contextmanager
def filtered(program: bpf.Program) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a pipe of datagrams, the second of which takes only what the program keeps: as if it were a wire."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    buffer = ctypes.create_string_buffer(bpf.encode(program), len(program) * 8)
    with sender, receiver:
        prog = struct.pack("@HP", len(program), ctypes.addressof(buffer))
        receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, prog)
        yield sender, receiver


def kept(wire: tuple[socket.socket, socket.socket], frame: bytes) -> bool:
    sender, receiver = wire
    sender.send(frame)
    try:
        return receiver.recv(1 << 16) == frame
    except BlockingIOError:
        return False


@settings(max_examples=100, deadline=None)
@given(expressions, st.lists(st.tuples(frames(), payloads), min_size=1, max_size=6), st.data())
def test_the_kernel_keeps_what_the_filter_means(
    expression: Expression, stacks: list[tuple[tuple[Header, ...], bytes]], data: st.DataObject
) -> None:
    with filtered(compile_filter(expression, LinkType.ETHERNET)) as wire:
        for stack, payload in stacks:
            frame = data.draw(damaged(encode(stack, payload))) or b"\0"
            assert kept(wire, frame) == holds(expression, dissect(frame))
