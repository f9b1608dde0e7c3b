"""A soak: streams of known content run between two pods at full speed, both ways, and every block is checked.

A tunnel that cuts packets, joins them and vouches for their checksums can deliver wrong bytes that TCP takes for right
ones. So both ends know an endless pseudo-random sequence of blocks, and the receiver compares digests.
"""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache

from bench.cluster import lab, need_root
from bench.meter import End
from bench.row import Measure, Reach, Row
from nankeen.kernel.namespace import Namespace, entered
from nankeen.lab import LabPod, find_lab

BLOCK = 256 << 10
"""Bytes."""
STREAMS = 4
"""In each direction."""

_SECONDS = 60
_SEED = "nankeen"
_DIFFERENT = 64
"""Blocks that a sequence is drawn from: 16 MiB."""
_PATIENCE = 20.0
"""Seconds without a byte, after which a stream counts as broken."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one stream."""

    way: str
    blocks: int
    """As they should be."""
    fault: str = ""
    """What was wrong with the next, if anything; the stream ended there."""


def soak(one: End, other: End, seconds: float, streams: int = STREAMS) -> list[Checked]:
    """Sends at full speed both ways between two ends for so long, or until something is wrong. Raises `OSError`."""
    over = threading.Event()
    ways = [(source, target) for source, target in ((one, other), (other, one)) for _ in range(streams)]
    with ExitStack() as opened, ThreadPoolExecutor(2 * len(ways)) as workers:
        opened.callback(over.set)
        connections = [opened.enter_context(_connection(source, target)) for source, target in ways]
        senders, receivers = [], []
        for number, ((source, target), (here, there)) in enumerate(zip(ways, connections, strict=True)):
            way = f"{source.name} → {target.name}"
            senders.append(workers.submit(send, here, number, over))
            receivers.append(workers.submit(receive, there, number, way))
            receivers[-1].add_done_callback(lambda _: over.set())
        over.wait(seconds)
        over.set()
        return [_judged(sent.result(), came.result()) for sent, came in zip(senders, receivers, strict=True)]


def _judged(sent: int, came: Checked) -> Checked:
    """A stream is also wrong where it ended well, but too soon."""
    return came if came.fault or came.blocks == sent else replace(came, fault=f"{sent} blocks were sent")


def send(connection: socket.socket, number: int, over: threading.Event) -> int:
    """Sends the blocks of the stream of that number until it is over; gives how many it was rid of."""
    content, sent = _content(), 0
    try:
        for place in _order(number):
            if over.is_set():
                break
            connection.sendall(content[place])
            sent += 1
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return sent  # what is wrong with the stream is told by its receiver
    return sent


def receive(connection: socket.socket, number: int, way: str) -> Checked:
    """Checks the blocks of the stream of that number until its end, or the first that is wrong, and hangs up."""
    expected, done = _digests(), 0
    with connection:
        try:
            for place, digest in zip(_order(number), _arriving(connection), strict=False):
                if digest != expected[place]:
                    return Checked(way, done, "a block is not what was sent")
                done += 1
        except OSError as error:
            return Checked(way, done, f"broke: {error}")
    return Checked(way, done)


def _arriving(connection: socket.socket) -> Iterator[bytes]:
    """The digest of each block that comes, until the end; the last one may be cut short."""
    block = memoryview(bytearray(BLOCK))
    while length := _fill(connection, block):
        yield hashlib.sha256(block[:length]).digest()


def _fill(connection: socket.socket, block: memoryview) -> int:
    """Receives a whole block, or less at the end; gives its length in bytes."""
    length = 0
    while length < len(block):
        came = connection.recv_into(block[length:])
        if not came:
            break
        length += came
    return length


@cache
def _content() -> tuple[bytes, ...]:
    drawn = random.Random(_SEED)  # noqa: S311  (known to both ends, and no secret)
    return tuple(drawn.randbytes(BLOCK) for _ in range(_DIFFERENT))


@cache
def _digests() -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(block).digest() for block in _content())


def _order(number: int) -> Iterator[int]:
    """Which block comes next in the stream of that number, without an end."""
    drawn = random.Random(f"{_SEED} {number}")  # noqa: S311  (as above)
    while True:
        yield drawn.randrange(_DIFFERENT)


@contextmanager
def _connection(source: End, target: End) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection between two ends, both sides of it."""
    family = socket.AF_INET if target.address.version == 4 else socket.AF_INET6
    with Namespace.open(target.namespace) as namespace, entered(namespace):
        listener = socket.create_server((str(target.address), 0), family=family)
    with listener:
        with Namespace.open(source.namespace) as namespace, entered(namespace):
            here = socket.socket(family, socket.SOCK_STREAM)
        with here:
            here.settimeout(_PATIENCE)
            listener.settimeout(_PATIENCE)
            here.connect(listener.getsockname())
            there, _ = listener.accept()
            with there:
                there.settimeout(_PATIENCE)
                yield here, there


@contextmanager
def _prepare() -> Iterator[Measure]:
    need_root()
    with lab(nodes=2, pods=2, backend="udp") as cluster:
        one, other = (_end(pod) for pod in find_lab(cluster.name).pods)
        yield lambda _: _wrong_and_right(soak(one, other, _SECONDS))


def _end(pod: LabPod) -> End:
    return End(pod.name, pod.namespaces.network, pod.addresses[0].ip)


def _wrong_and_right(streams: Sequence[Checked]) -> tuple[float, float]:
    """How many blocks were wrong, each of which ended its stream, and how many were right."""
    return sum(bool(stream.fault) for stream in streams), sum(stream.blocks for stream in streams)


ROWS = (
    Row(
        id="soak",
        what=f"blocks damaged or lost, {STREAMS} TCP streams each way for {_SECONDS} s, udp",
        unit="blocks",
        against=f"blocks of {BLOCK >> 10} KiB that arrived as sent",
        reach=Reach("≤", 0, "blocks"),
        prepare=_prepare,
        of_rounds=max,
    ),
)
