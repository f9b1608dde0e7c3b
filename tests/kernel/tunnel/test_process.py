"""The process itself: how it starts and ends, what it refuses, what it survives, what it costs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.soak import soak
from nankeen.tunnel.control import Configure, Done, Refused, Stop
from tests.kernel.tunnel.traffic import bulk
from tests.kernel.tunnel.world import SOURCE, inside, lease

if TYPE_CHECKING:
    from tests.kernel.tunnel.world import Pair, Site

MOST_MEMORY = 80 << 20
"""Bytes."""


def carries(pair: Pair) -> None:
    """Fails where a packet between the pods, or its answer, is lost, in either family."""
    for version in (4, 6):
        pair.one.pod.run(f"ping -n -c 1 -W 9 {inside(2, version=version)}")


@pytest.mark.parametrize("words", [["--socket"], ["--nonsense"], ["nonsense"], ["--socket", "a", "b"]], ids=" ".join)
def test_arguments_that_mean_nothing_are_refused_with_the_usage(words: list[str]) -> None:
    status, said = _ended(*words)
    assert status == 2
    assert "usage: nankeen.tunnel" in said


def test_a_place_where_nothing_can_be_made_ends_it_with_a_line_of_why() -> None:
    assert _ended("--socket", "/proc/nankeen/tunnel.sock") == (
        1,
        "[Errno 2] No such file or directory: '/proc/nankeen'\n",
    )


def _ended(*words: str) -> tuple[int, str]:
    """The exit status of a process with these arguments, and what it says of its end."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nankeen.tunnel", *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=20,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_what_is_said_to_it_on_standard_input_is_not_heard(carried: Pair) -> None:
    (process,) = carried.one.processes
    assert process.stdin is not None
    process.stdin.write('{"do": "stop"}\n\0\xff garbage\n')
    process.stdin.close()
    process.stdin = None
    carries(carried)
    assert process.poll() is None


def test_garbage_on_the_control_socket_changes_nothing(carried: Pair) -> None:
    for said in (b"\n", b"garbage\n", b"\xff\0" * 500_000, b'{"do":' * 100_000 + b"\n", b'{"do":"stop"', b""):
        with socket.socket(socket.AF_UNIX) as talker:
            talker.connect(str(carried.one.socket))
            talker.sendall(said)
            carries(carried)
    carries(carried)
    assert list(carried.one.report().peers) == ["node2"]


def test_a_second_process_on_one_control_socket_ends_and_the_first_goes_on(carried: Pair) -> None:
    second = carried.one.launch(
        sys.executable, "-P", "-m", "nankeen.tunnel", "--socket", str(carried.one.socket)
    )  # fmt: skip
    _, said = second.communicate(timeout=20)
    assert second.returncode == 1
    assert "another data path listens there" in said
    carries(carried)


def test_it_stops_when_it_is_told_to_and_leaves_the_device(carried: Pair) -> None:
    (process,) = carried.one.processes
    assert carried.one.ask(Stop()) == Done()
    assert process.wait(20) == 0
    assert not carried.one.socket.exists()
    assert "state DOWN" in carried.one.node.run("ip link show flannel0")


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGKILL, -9)], ids=["SIGTERM", "SIGKILL"])
def test_however_it_ended_the_next_one_takes_its_place(carried: Pair, number: int, status: int) -> None:
    (process,) = carried.one.processes
    process.send_signal(number)
    assert process.wait(20) == status
    assert carried.one.socket.exists() == (number == signal.SIGKILL)
    carried.one.start()
    carried.one.configure(lease(2))
    carries(carried)


def test_a_device_that_does_not_stand_is_refused_and_the_process_stays(pair: Pair) -> None:
    pair.carry()
    settings = pair.one.settings(lease(2))
    pair.one.node.run("ip link delete flannel0")
    refusal = pair.one.ask(Configure(settings))
    assert refusal == Refused("flannel0: there is no such device")
    assert pair.one.node.run("ip -br link show type tun") == ""
    pair.one.configure(lease(2))
    carries(pair)


def test_a_port_that_somebody_has_is_refused_by_name_and_the_process_stays(pair: Pair) -> None:
    other = pair.one.launch(sys.executable, "-c", _HOLDS_THE_PORT)
    assert other.stdout is not None
    assert other.stdout.readline() == "bound\n"
    pair.one.start()
    refusal = pair.one.ask(Configure(pair.one.settings(lease(2))))
    assert refusal == Refused("udp 192.168.50.1 port 8285: cannot be bound: Address already in use")
    other.communicate("\n")
    pair.one.configure(lease(2))


_HOLDS_THE_PORT = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
    holder.bind(("192.168.50.1", 8285))
    print("bound", flush=True)
    input()
"""


def test_a_device_deleted_under_it_costs_no_time_and_a_new_one_is_taken_over(carried: Pair) -> None:
    site = carried.one
    carries(carried)
    site.node.run("ip link delete flannel0")
    before, sleeps = site.report(), _sleeps(site)
    for _ in range(10):
        assert site.report().drops == before.drops  # who reads a dead queue for ever counts each time
    assert _sleeps(site) > sleeps
    site.configure(lease(2))
    carries(carried)


def _sleeps(site: Site) -> int:
    """How often the process has waited for something."""
    return _status(site, "voluntary_ctxt_switches")


def test_its_memory_stays_below_a_bound_at_full_speed_in_all_directions(carried: Pair) -> None:
    for version in (4, 6):
        streams = soak(carried.one.end(version), carried.two.end(version), seconds=1.0)
        assert [stream for stream in streams if stream.fault] == []
        bulk(carried.one.pod, carried.two.pod, inside(2, version=version))
    assert [site for site in carried.sites if _status(site, "VmRSS") << 10 > MOST_MEMORY] == []


def _status(site: Site, name: str) -> int:
    """A number that the kernel tells of the process (proc_pid_status(5))."""
    found = re.search(rf"\b{name}:\s+(\d+)", Path(f"/proc/{site.processes[-1].pid}/status").read_text())
    assert found is not None
    return int(found[1])
