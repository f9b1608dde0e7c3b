"""What a service manager hears: each line once, in one datagram, and never at the price of the agent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nankeen.agent.notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has it, and its address as $NOTIFY_SOCKET tells it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@nankeen-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listener.setblocking(False)
        yield listener, address


def heard(listener: socket.socket) -> list[str]:
    """The datagrams that have come."""
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_it_hears_of_the_start_once_and_of_each_change(listening: tuple[socket.socket, str]) -> None:
    listener, address = listening
    manager = ServiceManager(address)
    manager.tell(ready=False, status="not ready: starting")
    manager.tell(ready=False, status="not ready: starting")
    manager.tell(ready=True, status="ready")
    manager.tell(ready=True, status="ready")
    manager.tell(ready=False, status="not ready: no lease")
    manager.tell(ready=True, status="ready")
    manager.stopping()
    assert heard(listener) == [
        "STATUS=not ready: starting",
        "STATUS=ready\nREADY=1",
        "STATUS=not ready: no lease",
        "STATUS=ready",
        "STOPPING=1",
    ]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-is-here", "vsock:2:1", "/" + "long" * 99])
def test_a_service_manager_that_does_not_listen_holds_up_nobody(address: str) -> None:
    ServiceManager(address).tell(ready=True, status="ready")


def test_one_that_does_not_read_holds_up_nobody(listening: tuple[socket.socket, str]) -> None:
    manager = ServiceManager(listening[1])
    for number in range(2000):
        manager.tell(ready=True, status=f"peers: {number}")
    assert 0 < len(heard(listening[0])) < 2000
