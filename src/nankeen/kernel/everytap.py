"""Listening on all devices of a network namespace at once: one packet socket that is bound to none (packet(7)).

`Tap` listens on one device, with a ring, for what comes in masses. This is for few packets at many places: it costs one
socket, however many devices there are, and hears also those that appear later.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.ring import Direction, Frame
from nankeen.kernel.tap import ETHERNET, attach, refusal
from nankeen.kernel.timestamps import SPACE, arrival, ask_for_times
from nankeen.model import bpf
from nankeen.model.packet import LinkType

HARDWARE_TYPE = 0xFFFF_F000 + 28
"""Where a program loads the kind of a frame's device (ARPHRD_*) from: SKF_AD_OFF + SKF_AD_HATYPE (linux/filter.h)."""

_ETH_P_ALL = 3
_KIND = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_OUTGOING = 4
_LARGEST = (1 << 16) + 64
"""Octets: the largest packet, and the headers of its link."""
_STAMPS = 0.1
"""Seconds after which times are taken as they come."""
_ROOM = 1 << 20
"""Octets of what was heard and is not read yet."""


class Heard(NamedTuple):
    """A frame, and what it begins with."""

    frame: Frame
    link: LinkType


class EveryTap:
    """What passes any device of a namespace, the loopback device included, from now on."""

    def __init__(self, namespace: Namespace | None, wanted: bpf.Program) -> None:
        """Hears what the program keeps, in that network namespace or the caller's own.

        Devices are not made promiscuous: of a real network, only what is for this machine is heard. Raises
        `KernelError`.
        """
        try:
            with entered(namespace):
                made = socket.socket(socket.AF_PACKET, _KIND, socket.htons(_ETH_P_ALL))
        except OSError as error:
            raise refusal(error, "all devices") from error
        try:
            _prepare(made, wanted)
        except OSError as error:
            made.close()
            raise refusal(error, "all devices") from error
        self._socket = made

    def fileno(self) -> int:
        """To be polled: readable when `read` has something."""
        return self._socket.fileno()

    def read(self) -> list[Heard]:
        """What has been heard, in order. Does not wait."""
        return list(self._waiting())

    def close(self) -> None:
        """Waits until the kernel's last look at the socket is over, some milliseconds."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _waiting(self) -> Iterator[Heard]:
        while (received := _next(self._socket)) is not None:
            data, extra, _, origin = received
            device, _, kind, hardware = origin[:4]
            direction = Direction.OUT if kind == _OUTGOING else Direction.IN
            link = LinkType.ETHERNET if hardware in ETHERNET else LinkType.IP
            yield Heard(Frame(arrival(extra) or time.time_ns(), device, direction, data, len(data)), link)


def await_stamps(namespace: Namespace | None = None) -> bool:
    """Returns when the kernel notes the time of each frame, and whether it does.

    It begins to some moment after the first socket asked for it (net_enable_timestamp in net/core/dev.c defers that);
    until then, a frame's time is that when it is read. Tried by a datagram to oneself, in that namespace.
    """
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        ask_for_times(made)
        end = time.monotonic() + _STAMPS
        try:
            made.bind(("127.0.0.1", 0))
            while not _is_stamped(made) and time.monotonic() < end:
                time.sleep(_STAMPS / 100)
        except OSError:  # there is no loopback device that is up
            return False
    return time.monotonic() < end


def _is_stamped(made: socket.socket) -> bool:
    """Whether a datagram's time is that when it was sent."""
    made.sendto(b"", made.getsockname())
    sent = time.time_ns()
    received = _next(made)
    return received is not None and (arrival(received[1]) or time.time_ns()) <= sent


def close_all(taps: Sequence[EveryTap]) -> None:
    """Closes them at once: each waits for the same moment."""
    with ThreadPoolExecutor(max(len(taps), 1)) as pool:
        list(pool.map(EveryTap.close, taps))


def _prepare(made: socket.socket, wanted: bpf.Program) -> None:
    """What was heard before the filter stood is thrown away."""
    attach(made, wanted)
    ask_for_times(made)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
    while _next(made) is not None:
        pass


def _next(made: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any] | None:
    """What one call of recvmsg(2) brings; None where nothing waits."""
    while True:
        try:
            return made.recvmsg(_LARGEST, SPACE)
        except BlockingIOError:
            return None
        except UnicodeDecodeError:  # Python does not take its device's name: that frame is lost
            continue
        except OSError as error:
            if error.errno != errno.ENETDOWN:  # one of the devices went down, which is told once; the others go on
                raise
