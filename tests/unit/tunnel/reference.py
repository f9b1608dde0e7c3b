"""Segmentation as it is told, slowly: one segment after the other, each header field and each checksum from scratch."""

from __future__ import annotations

import struct

TCP, UDP = 6, 17
FIN, PSH, ACK = 0x01, 0x08, 0x10
IPV6_EXTENSIONS = frozenset({0, 43, 44, 60})


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    padded = octets + bytes(len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport(packet: bytes) -> tuple[int, int]:
    """The protocol of the transport's header, and where that begins."""
    if packet[0] >> 4 == 4:
        return packet[9], (packet[0] & 0x0F) * 4
    protocol, at = packet[6], 40
    while protocol in IPV6_EXTENSIONS:
        protocol, at = packet[at], at + (packet[at + 1] + 1) * 8
    return protocol, at


def header_length(packet: bytes) -> int:
    """Octets before the payload."""
    protocol, start = transport(packet)
    return start + (8 if protocol == UDP else (packet[start + 12] >> 4) * 4)


def checksum_at(packet: bytes) -> int:
    """Where the transport's checksum is."""
    protocol, start = transport(packet)
    return start + (6 if protocol == UDP else 16)


def pseudo_header(packet: bytes) -> bytes:
    """RFC 9293 §3.1, RFC 8200 §8.1."""
    protocol, start = transport(packet)
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return addresses + struct.pack("!HH", protocol, len(packet) - start)


def mended(packet: bytes) -> bytes:
    """The packet with its lengths and checksums put right."""
    mending = bytearray(packet)
    protocol, start = transport(packet)
    if mending[0] >> 4 == 4:
        struct.pack_into("!H", mending, 2, len(packet))
        struct.pack_into("!H", mending, 10, 0)
        struct.pack_into("!H", mending, 10, checksum(bytes(mending[:start])))
    else:
        struct.pack_into("!H", mending, 4, len(packet) - 40)
    if protocol == UDP:
        struct.pack_into("!H", mending, start + 4, len(packet) - start)
    struct.pack_into("!H", mending, checksum_at(packet), 0)
    found = checksum(pseudo_header(packet) + bytes(mending[start:]))
    struct.pack_into("!H", mending, checksum_at(packet), found or (0xFFFF if protocol == UDP else 0))
    return bytes(mending)


def segments(packet: bytes, size: int, *, hops: int) -> list[bytes]:
    """What a packet becomes that is cut into segments of `size` octets of payload, and passes so many routers."""
    header, payload = packet[: header_length(packet)], packet[header_length(packet) :]
    cuts = range(0, len(payload), size)
    return [_segment(header, payload, at, size, hops) for at in cuts]


def _segment(header: bytes, payload: bytes, at: int, size: int, hops: int) -> bytes:
    segment = bytearray(header + payload[at : at + size])
    protocol, start = transport(header)
    if segment[0] >> 4 == 4:
        identification = int.from_bytes(header[4:6]) + at // size
        struct.pack_into("!H", segment, 4, identification & 0xFFFF)
        segment[8] -= hops
    else:
        segment[7] -= hops
    if protocol == TCP:
        sequence = int.from_bytes(header[start + 4 : start + 8]) + at
        struct.pack_into("!I", segment, start + 4, sequence & 0xFFFF_FFFF)
        if at + size < len(payload):
            segment[start + 13] &= ~(FIN | PSH)
    return mended(bytes(segment))
