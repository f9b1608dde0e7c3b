"""What the two families call the same thing: socket options, ICMP types (linux/in.h, linux/in6.h, linux/icmp.h)."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from nankeen.model.address import Family

PMTUDISC_PROBE = 3
"""IP_PMTUDISC_PROBE and IPV6_PMTUDISC_PROBE: DF is set, and what was learnt of the path's MTU is not acted upon."""

_ICMP_FILTER = 1
_SOL_RAW = 255
_ICMPV6_FILTER = 1


@dataclass(frozen=True, slots=True)
class Inet:
    """One family, as sockets know it."""

    domain: socket.AddressFamily
    level: int
    """For socket options and control messages."""
    icmp: int
    """The protocol number of ICMP or ICMPv6."""
    echo_request: int
    echo_reply: int
    header: int
    """Length of the IP header that is sent, in bytes."""
    receives_header: bool
    """Whether a raw socket is given the IP header."""
    recverr: int
    mtu_discover: int
    freebind: int
    echo_filter: tuple[int, int, bytes]
    """The socket option that lets only echo requests and replies through to a raw socket."""


def _blocked(*passing: int, words: int) -> bytes:
    """A bit set of all ICMP types but those that pass, in words of 32 bits of the host's byte order."""
    bits = (1 << 32 * words) - 1
    for kind in passing:
        bits &= ~(1 << kind)
    return struct.pack(f"={words}I", *(bits >> 32 * word & 0xFFFFFFFF for word in range(words)))


INET = {
    Family.IPV4: Inet(
        domain=socket.AF_INET,
        level=socket.IPPROTO_IP,
        icmp=socket.IPPROTO_ICMP,
        echo_request=8,
        echo_reply=0,
        header=20,
        receives_header=True,
        recverr=11,
        mtu_discover=10,
        freebind=15,
        echo_filter=(_SOL_RAW, _ICMP_FILTER, _blocked(0, 8, words=1)),
    ),
    Family.IPV6: Inet(
        domain=socket.AF_INET6,
        level=socket.IPPROTO_IPV6,
        icmp=socket.IPPROTO_ICMPV6,
        echo_request=128,
        echo_reply=129,
        header=40,
        receives_header=False,
        recverr=25,
        mtu_discover=23,
        freebind=78,
        echo_filter=(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _blocked(128, 129, words=8)),
    ),
}
