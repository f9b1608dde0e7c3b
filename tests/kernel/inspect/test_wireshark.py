"""Wireshark opens what is written, and reads every packet as we do."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nankeen.inspect.capture import pcapng
from nankeen.kernel.ring import Direction, Frame
from nankeen.model.packet import (
    Arp,
    Ethernet,
    Extension,
    Fragment,
    Header,
    Icmp,
    IPv4,
    IPv6,
    LinkType,
    Packet,
    Tcp,
    Udp,
    Vlan,
    Vxlan,
    dissect,
    encode,
)
from nankeen.model.packet.ip import EXTENSIONS
from tests.unit.model.packet.strategies import frames, payloads

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark")

TIME = 1_763_890_000_123_456_789
SETTINGS = (
    *("-d", "udp.port==8472,vxlan", "-d", "udp.port==4789,vxlan", "-d", "udp.port==8285,ip"),
    *("-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"),
)


@dataclass(frozen=True)
class Column:
    """A field of Wireshark's, and what we have for it in a header of that type."""

    field: str
    kind: type[Header]
    value: Callable[..., object]


COLUMNS = (
    Column("eth.src", Ethernet, lambda header: header.source),
    Column("eth.dst", Ethernet, lambda header: header.destination),
    Column("vlan.id", Vlan, lambda header: header.identifier),
    Column("arp.opcode", Arp, lambda header: header.operation),
    Column("arp.src.proto_ipv4", Arp, lambda header: header.sender),
    Column("arp.dst.proto_ipv4", Arp, lambda header: header.target),
    Column("ip.src", IPv4, lambda header: header.source),
    Column("ip.dst", IPv4, lambda header: header.destination),
    Column("ip.ttl", IPv4, lambda header: header.ttl),
    Column("ip.proto", IPv4, lambda header: header.protocol),
    Column("ip.len", IPv4, lambda header: header.total_length),
    Column("ipv6.src", IPv6, lambda header: header.source),
    Column("ipv6.dst", IPv6, lambda header: header.destination),
    Column("ipv6.hlim", IPv6, lambda header: header.ttl),
    Column("ipv6.fraghdr.ident", Fragment, lambda header: f"{header.identification:#010x}"),
    Column("udp.srcport", Udp, lambda header: header.source),
    Column("udp.dstport", Udp, lambda header: header.destination),
    Column("tcp.srcport", Tcp, lambda header: header.source),
    Column("tcp.dstport", Tcp, lambda header: header.destination),
    Column("tcp.seq_raw", Tcp, lambda header: header.sequence),
    Column("tcp.flags", Tcp, lambda header: f"{header.flags:#06x}"),
    Column("vxlan.vni", Vxlan, lambda header: header.vni),
)
ICMP_FIELDS = {4: "icmp.type", 6: "icmpv6.type"}
FIELDS = [*(column.field for column in COLUMNS), *ICMP_FIELDS.values()]


def ours(packet: Packet) -> list[str]:
    """A cell for each field: of all headers that have it, joined by commas."""
    cells = [
        [column.value(header) for header in packet.headers if isinstance(header, column.kind)] for column in COLUMNS
    ]
    cells += [
        [header.type for header in packet.headers if isinstance(header, Icmp) and header.family.value == version]
        for version in ICMP_FIELDS
    ]
    return [",".join(map(str, cell)) for cell in cells]


def tshark(path: Path, fields: Sequence[str]) -> list[list[str]]:
    """A row for each packet, with a cell for each field."""
    asked = [word for field in fields for word in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), *SETTINGS, "-T", "fields", "-E", "occurrence=a", *asked]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.split("\n")[:-1]]


def written(path: Path, data: Sequence[bytes], link: LinkType = LinkType.ETHERNET) -> Path:
    file = io.BytesIO()
    file.write(pcapng.head([pcapng.Interface("node1:eth0", link, "eth0 in a namespace", "tcp")], "a comment"))
    for number, frame in enumerate(data):
        file.write(
            pcapng.packet(0, Frame(TIME + number, "eth0", Direction.OUT, frame, len(frame)), "" if number else "first")
        )
    file.write(pcapng.statistics(0, TIME, 42))
    path.write_bytes(file.getvalue())
    return path


def is_sound(stack: Sequence[Header], payload: bytes) -> bool:
    """Whether both readers have to agree on all of it: nothing broken, and no more options than we look behind."""
    extensions = sum(isinstance(header, Extension | Fragment) for header in stack)
    return dissect(encode(stack, payload)).fault is None and extensions <= EXTENSIONS


@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(frames(), payloads).filter(lambda made: is_sound(*made)), min_size=30, max_size=60))
def test_every_packet_is_read_alike(tmp_path: Path, made: list[tuple[tuple[Header, ...], bytes]]) -> None:
    data = [encode(stack, payload) for stack, payload in made]
    rows = tshark(written(tmp_path / "packets.pcapng", data), FIELDS)
    assert len(rows) == len(data)
    for frame, row in zip(data, rows, strict=True):
        assert dict(zip(FIELDS, row, strict=True)) == dict(zip(FIELDS, ours(dissect(frame)), strict=True)), frame.hex()


def test_times_names_directions_and_comments_are_there(tmp_path: Path) -> None:
    path = written(tmp_path / "packets.pcapng", [bytes(60), bytes(60)])
    fields = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.interface_description",
        "frame.packet_flags",
        "frame.comment",
    ]
    assert tshark(path, fields) == [
        ["1763890000.123456789", "node1:eth0", "eth0 in a namespace", "0x00000002", "first"],
        ["1763890000.123456790", "node1:eth0", "eth0 in a namespace", "0x00000002", ""],
    ]


def test_a_device_without_ethernet_is_read_as_such(tmp_path: Path) -> None:
    packet = bytes.fromhex("4500001c00000000401166cf0a0000010a000002 03e8005000080000")
    path = written(tmp_path / "packets.pcapng", [packet], LinkType.IP)
    assert tshark(path, ["ip.src", "udp.dstport"]) == [["10.0.0.1", "80"]]
