"""What a link message tells besides the link: a port's part in its bridge, and settings that change where packets go
(linux/if_link.h, IFLA_BRPORT_*, IFLA_BR_*, IFLA_VXLAN_*).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from nankeen.kernel.netlink.message import attributes, read_string
from nankeen.model.observed import BridgePort, LinkFacts

_IFINFOMSG = struct.Struct("=BBHiII")
_IFNAME, _LINKINFO = 3, 18
_INFO_KIND, _INFO_DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5
_STATE, _MODE, _LEARNING, _FLOOD, _MULTICAST, _BROADCAST, _SUPPRESS, _ISOLATED, _LOCKED = 1, 4, 8, 9, 27, 30, 32, 33, 39
_FORWARDING = 3
_VLAN_FILTERING = 7
_VXLAN_SETTINGS = {
    5: "ttl", 11: "proxy", 12: "rsc", 25: "external", 28: "ttl inherit", 29: "df", 30: "vnifilter",
}  # fmt: skip
"""What a VXLAN device may be told, and is not predicted; zero and absence mean no."""


def parse(body: bytes) -> Iterator[BridgePort | LinkFacts]:
    """What there is to tell of the device."""
    found = attributes(body, _IFINFOMSG.size)
    name = read_string(found.get(_IFNAME, b""))
    info = attributes(found.get(_LINKINFO, b""))
    if read_string(info.get(_SLAVE_KIND, b"")) == "bridge":
        yield _port(name, attributes(info.get(_SLAVE_DATA, b"")))
    data = attributes(info.get(_INFO_DATA, b""))
    match read_string(info.get(_INFO_KIND, b"")):
        case "bridge" if any(data.get(_VLAN_FILTERING, b"")):
            yield LinkFacts(name, vlan_filtering=True)
        case "vxlan":
            other = tuple(word for number, word in _VXLAN_SETTINGS.items() if _is_set(data, number))
            if other:
                yield LinkFacts(name, other=other)


def _port(name: str, data: Mapping[int, bytes]) -> BridgePort:
    def flag(number: int, *, otherwise: bool) -> bool:
        return bool(data[number][0]) if data.get(number) else otherwise

    return BridgePort(
        name,
        forwarding=data.get(_STATE, b"\0")[:1] == bytes([_FORWARDING]),
        learning=flag(_LEARNING, otherwise=True),
        flood=flag(_FLOOD, otherwise=True),
        multicast_flood=flag(_MULTICAST, otherwise=True),
        broadcast_flood=flag(_BROADCAST, otherwise=True),
        hairpin=flag(_MODE, otherwise=False),
        isolated=flag(_ISOLATED, otherwise=False),
        suppress=flag(_SUPPRESS, otherwise=False),
        locked=flag(_LOCKED, otherwise=False),
    )


def _is_set(data: Mapping[int, bytes], number: int) -> bool:
    """Flags are there or not; numbers are more than zero."""
    return number in data and (not data[number] or any(data[number]))
