"""What makes a pod of containers: they have one address, and reach each other over localhost. Asked and answered."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe
from nankeen.lab.lab import LabContainer, LabPod
from nankeen.lab.runtime import INTERFACE
from nankeen.model.state import Address

LOCALHOST = "127.0.0.1"
_DEADLINE = 5.0
"""Seconds that a container has to answer."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One container asks another, by localhost."""

    asks: str
    sees: tuple[str, ...]
    """The addresses that the asking container has on its interface."""
    port: int
    answers: str
    """The container that answered; empty where none did."""


def conversations(pod: LabPod) -> tuple[Conversation, ...]:
    """Every container asks every other. To be called inside the lab, by a process of one thread."""
    return tuple(_ask(one, other) for one, other in permutations(pod.containers, 2))


def is_shared(pod: LabPod, held: tuple[Conversation, ...]) -> bool:
    """Whether all that was asked was answered by the right one, and all see the pod's own addresses and no others."""
    answered = {container.port: f"{pod.name}/{container.name}" for container in pod.containers}
    own = {str(interface.ip) for interface in pod.addresses}
    return all(answered[talk.port] == talk.answers and set(talk.sees) == own for talk in held)


def _ask(one: LabContainer, other: LabContainer) -> Conversation:
    with Namespace.open(Path(f"/proc/{one.pid}/ns/net")) as namespace:
        with NetlinkSocket(namespace) as netlink:
            held = observe(netlink).of(Address)
            sees = tuple(str(a.interface.ip) for a in held if a.device == INTERFACE and not a.interface.is_link_local)
        with entered(namespace):
            return Conversation(one.name, sees, other.port, _answer(other.port))


def _answer(port: int) -> str:
    try:
        with (
            socket.create_connection((LOCALHOST, port), timeout=_DEADLINE) as connection,
            connection.makefile() as lines,
        ):
            return str(json.loads(lines.readline())["container"])
    except (OSError, ValueError, KeyError):
        return ""
