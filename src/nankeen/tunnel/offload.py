"""What the kernel takes off our hands: struct virtio_net_hdr before each packet of a TUN device (linux/virtio_net.h),
and the segmentation of datagrams (udp(7), UDP_SEGMENT and UDP_GRO).

     0               1               2                               4
    +---------------+---------------+-------------------------------+-------------------------------+
    |     flags     |   gso_type    |            hdr_len            |           gso_size            |
    +---------------+---------------+-------------------------------+-------------------------------+
    |          csum_start           |          csum_offset          |        in this machine's byte order
    +-------------------------------+-------------------------------+
"""

from __future__ import annotations

import struct
from enum import IntEnum

HEADER = struct.Struct("=BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset. All but the types count in octets."""
PLAIN = bytes(HEADER.size)
"""Before a packet that is what it is."""

NEEDS_CSUM = 1
"""VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum from `csum_start` on is still to be made; the sum of the pseudo header is
where it shall be.
"""

TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
"""What TUNSETOFFLOAD allows the kernel to leave to us (linux/if_tun.h)."""

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104  # linux/udp.h
MOST_SEGMENTS = 64
"""Datagrams that one UDP_SEGMENT makes: UDP_MAX_SEGMENTS, which newer kernels have raised."""
LARGEST_DATAGRAM = 65_507
"""Octets of UDP payload in one IPv4 packet."""
LARGEST_PACKET = 65_535
MOST_BUFFERS = 1024
"""Pieces of memory that one system call takes: UIO_MAXIOV (linux/uio.h)."""


class GsoType(IntEnum):
    """What a packet larger than the MTU is to be cut into (VIRTIO_NET_HDR_GSO_*)."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 4
    UDP_L4 = 5
