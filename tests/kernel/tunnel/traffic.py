"""Traffic between pods of which one knows what should arrive."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nankeen.kernel.namespace import entered

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

_PATIENCE = 15.0
"""Seconds without an octet."""
_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it


def bulk(source: Net, target: Net, address: str, octets: int = 8 << 20) -> None:
    """Sends so many octets over one TCP connection to an address of the target's; they must arrive as they are."""
    content = random.Random(octets).randbytes(octets)
    family = _family(address)
    with entered(target.namespace):
        listener = socket.create_server((address, 0), family=family)
    with listener, ThreadPoolExecutor(1) as worker:
        listener.settimeout(_PATIENCE)
        with entered(source.namespace):
            sender = socket.socket(family, socket.SOCK_STREAM)
        sender.settimeout(_PATIENCE)
        sent = worker.submit(_send, sender, listener.getsockname(), content)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(_PATIENCE)
            came = _digest(iter(lambda: accepted.recv(1 << 18), b""))
        sent.result()
    assert came == _digest([content])


def _send(sender: socket.socket, address: tuple[object, ...], content: bytes) -> None:
    with sender:
        sender.connect(address)
        sender.sendall(content)


def _digest(pieces: Iterable[bytes]) -> tuple[int, str]:
    """How many octets, and their hash."""
    length, digest = 0, hashlib.sha256()
    for piece in pieces:
        length += len(piece)
        digest.update(piece)
    return length, digest.hexdigest()


def datagrams(sizes: Iterable[int]) -> list[bytes]:
    """Of these sizes in octets, no two alike."""
    drawn = random.Random(1)
    return [drawn.randbytes(size) for size in sizes]


def send_datagrams(source: Net, target: Net, address: str, sent: Sequence[bytes]) -> list[bytes]:
    """Sends each; returns those that come, as many as were sent, in the order in which they come."""
    with receiver(target, address) as receiving, sender(source, address) as sending:
        for datagram in sent:
            sending.sendto(datagram, receiving.getsockname())
        return [receiving.recv(65_536) for _ in sent]


@contextmanager
def receiver(net: Net, address: str) -> Iterator[socket.socket]:
    """A socket for datagrams at an address, with room for many."""
    with entered(net.namespace):
        made = socket.socket(_family(address), socket.SOCK_DGRAM)
    with made:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.settimeout(_PATIENCE)
        made.bind((address, 0))
        yield made


@contextmanager
def sender(net: Net, to: str) -> Iterator[socket.socket]:
    """A socket for datagrams to an address of that family."""
    with entered(net.namespace):
        made = socket.socket(_family(to), socket.SOCK_DGRAM)
    with made:
        made.settimeout(_PATIENCE)
        yield made


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
