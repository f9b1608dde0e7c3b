"""`nankeen capture` on real labs, root's and a user's: a packet's whole way, files, filters, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.person import Owner, owning

WAY = ["pod1:eth0", "node1:eth0", "node2:eth0", "pod2:eth0"]


class Eavesdropper(Owner):
    """One who captures."""

    def ping(self) -> None:
        status, _, err = self.run("lab", "exec", "--name", self.lab, "pod1", "--", "ping", "-c", "1", "10.244.2.2")
        assert status == 0, err

    @contextmanager
    def capture(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A capture that listens already."""
        with self.start("capture", "--name", self.lab, *words) as process:
            try:
                stream = process.stdout if "--json" in words else process.stderr
                assert stream is not None
                first = stream.readline()
                assert "listening at" in first or '"points"' in first, first + process.communicate()[1]
                yield process
            finally:
                process.kill()

    def captured(self, *words: str) -> dict[str, Any]:
        """What a capture says of one ping."""
        with self.capture(*words, "--json") as process:
            self.ping()
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        found: dict[str, Any] = json.loads('{"points": [], "packets": [' + out)
        return found


@pytest.fixture(scope="module", params=["root", "user"])
def owner(request: pytest.FixtureRequest) -> Iterator[Eavesdropper]:
    someone = Eavesdropper.named(request.param, f"capture-{os.getpid()}-{request.param}")
    with owning(someone):
        yield someone


def header(packet: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [each for each in packet["headers"] if each["name"] == name]


def test_one_packets_way_is_seen_at_every_point_in_order(owner: Eavesdropper) -> None:
    found = owner.captured(*WAY, "--count", "8", "icmp", "and", "ipv4", "and", "host", "pod1")
    points = [packet["point"] for packet in found["packets"]]
    assert points == [*WAY, *reversed(WAY)]
    assert [packet["direction"] for packet in found["packets"]] == ["out", "out", "in", "in"] * 2
    assert (found["captured"], found["skipped"], found["went_down"]) == (8, 0, [])


def test_the_packet_in_the_tunnel_is_read(owner: Eavesdropper) -> None:
    [packet] = owner.captured("node1:eth0", "--count", "1", "inner (src pod1 and icmp)")["packets"]
    outer, inner = header(packet, "IPv4")
    assert (outer["level"], outer["source"], outer["destination"]) == (0, "192.168.0.11", "192.168.0.12")
    assert (inner["level"], inner["source"], inner["destination"]) == (1, "10.244.1.2", "10.244.2.2")
    assert [each["vni"] for each in header(packet, "VXLAN")] == [1]


def test_a_node_stands_for_all_its_devices(owner: Eavesdropper) -> None:
    found = owner.captured("node1", "--count", "4", "icmp and src pod1")
    devices = [packet["point"].partition(":")[2] for packet in found["packets"]]
    assert devices[0].startswith("veth")
    assert devices[1:] == ["cni0", "flannel.1", "eth0"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_what_was_skipped_is_told(owner: Eavesdropper, kind: signal.Signals) -> None:
    with owner.capture("pod1", "icmp and ipv4") as process:
        owner.ping()
        process.send_signal(kind)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "10.244.1.2 → 10.244.2.2 ICMP echo request" in out
    assert "2 packets captured, skipped 0" in err


def test_a_file_is_written_where_the_user_stands(owner: Eavesdropper, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for above in (tmp_path.parent, tmp_path.parent.parent):
        above.chmod(above.stat().st_mode | 0o111)
    path = tmp_path / "packets.pcapng"
    with owner.start("capture", "--name", owner.lab, "pod1", "--seconds", "0", "--write", str(path)) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "packets captured" in err) == (0, True), err
    assert path.read_bytes().startswith(b"\x0a\x0d\x0d\x0a")
    assert b"pod1:eth0" in path.read_bytes()


def test_who_has_seen_enough_ends_it_quietly(owner: Eavesdropper) -> None:
    with owner.capture("pod1", "icmp and ipv4") as process:
        assert process.stdout is not None
        process.stdout.close()
        owner.ping()
        process.wait(60)
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "words, status, text",
    [
        (("nod1",), 2, "did you mean node1"),
        (("node1", "hots", "pod1"), 2, "hots: there is no such node, pod or device; did you mean host"),
        (("node1", "host pod1 an tcp"), 2, "    host pod1 an tcp\n              ^^"),
        (("node1", "--write", "/no/such/file"), 2, "/no/such/file: cannot be written: No such file"),
        (("node1:gone",), 2, "there is no such node, pod or device"),
    ],
)
def test_what_is_wrong_is_told(owner: Eavesdropper, words: Sequence[str], status: int, text: str) -> None:
    returned, out, err = owner.run("capture", "--name", owner.lab, *words)
    assert (returned, out) == (status, "")
    assert text in err


def test_a_lab_that_is_not_there_is_an_error(owner: Eavesdropper) -> None:
    status, _, err = owner.run("capture", "--name", "no-such-lab", "node1")
    assert status == 1
    assert "there is no such lab" in err
