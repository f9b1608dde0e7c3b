"""Files of packets: read back block by block, as the format says."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.capture import pcapng
from nankeen.kernel.ring import Direction, Frame
from nankeen.model.packet import LinkType
from tests.unit.inspect.capture.sights import TIME

INTERFACES = (
    pcapng.Interface("node1:eth0", LinkType.ETHERNET, "eth0 in a namespace", "tcp port 80"),
    pcapng.Interface("node1:flannel.ipip", LinkType.IP),
)


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each; lengths at both ends must agree and be multiples of 4."""
    file = io.BytesIO(data)
    while head := file.read(8):
        kind, length = struct.unpack("=II", head)
        body = file.read(length - 12)
        assert length % 4 == 0
        assert file.read(4) == length.to_bytes(4, sys.byteorder)
        yield kind, body


def options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        code, length = struct.unpack_from("=HH", data)
        if code == 0:
            assert data == bytes(4)
            break
        found[code] = data[4 : 4 + length]
        data = data[4 + (length + 3 & ~3) :]
    return found


def test_a_file_begins_with_its_section_and_interfaces() -> None:
    section, *interfaces = blocks(pcapng.head(INTERFACES, "a comment"))
    assert section[0] == 0x0A0D0D0A
    assert struct.unpack_from("=IHH", section[1]) == (0x1A2B3C4D, 1, 0)
    assert options(section[1][16:]) == {4: b"nankeen", 1: b"a comment"}
    assert [struct.unpack_from("=H", body)[0] for _, body in interfaces] == [1, 101]
    assert [kind for kind, _ in interfaces] == [1, 1]
    first, second = (options(body[8:]) for _, body in interfaces)
    assert first == {2: b"node1:eth0", 9: b"\x09", 3: b"eth0 in a namespace", 11: b"\0tcp port 80"}
    assert second == {2: b"node1:flannel.ipip", 9: b"\x09"}


@given(st.binary(max_size=60), st.integers(0, 2**63), st.sampled_from(Direction), st.text("ab ä", max_size=10))
def test_a_packet_keeps_its_nanoseconds_and_direction(data: bytes, time: int, way: Direction, comment: str) -> None:
    [(kind, body)] = blocks(
        pcapng.packet(3, Frame(time, "eth0", way, data, 9000), comment.encode(errors="ignore").decode())
    )
    interface, high, low, kept, length = struct.unpack_from("=5I", body)
    assert (kind, interface, high << 32 | low, kept, length) == (6, 3, time, len(data), 9000)
    assert body[20 : 20 + kept] == data
    found = options(body[20 + (kept + 3 & ~3) :])
    assert found[2] == (1 if way is Direction.IN else 2).to_bytes(4, sys.byteorder)
    assert found.get(1, b"").decode() == comment


def test_statistics_tell_what_was_dropped() -> None:
    [(kind, body)] = blocks(pcapng.statistics(1, TIME, 42))
    assert (kind, struct.unpack_from("=III", body)) == (5, (1, TIME >> 32, TIME & 0xFFFFFFFF))
    assert options(body[12:]) == {5: (42).to_bytes(8, sys.byteorder)}
