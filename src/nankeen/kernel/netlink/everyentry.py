"""RTM_GETNEIGH, read whole: what the kernel keeps by itself, and bridges' forwarding tables (linux/neighbour.h)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from nankeen.kernel.netlink import neighbour
from nankeen.kernel.netlink.message import attributes, read_u32
from nankeen.kernel.netlink.neighbour import AF_BRIDGE, hardware_address, ip_address
from nankeen.model.observed import BridgeEntry, DynamicNeighbour, NeighbourState
from nankeen.model.state import ForwardingEntry, Neighbour

_NDMSG = struct.Struct("=BBHiHBB")
_U16_NETWORK, _U16 = struct.Struct(">H"), struct.Struct("=H")
_DST, _LLADDR, _VLAN, _PORT, _VNI, _IFINDEX, _MASTER = 1, 2, 5, 6, 7, 8, 9
_NUD_PERMANENT, _NUD_NOARP = 0x80, 0x40
_STATES = 0x7F

Entry = Neighbour | ForwardingEntry | DynamicNeighbour | BridgeEntry


def parse(body: bytes, names: Mapping[int, str]) -> Entry | None:
    """The entry that a message tells of; None for multicast addresses that a device listens to."""
    family, _, _, index, state, _, _ = _NDMSG.unpack_from(body)
    found = attributes(body, _NDMSG.size)
    if index not in names:
        return None
    if family == AF_BRIDGE:
        return _forwarding(body, names, found, names[index], state)
    if state & _NUD_PERMANENT:
        return neighbour.parse(body, names)
    if _DST not in found:
        return None
    address = found.get(_LLADDR, b"")
    known = hardware_address(address) if len(address) == 6 else None
    return DynamicNeighbour(names[index], ip_address(found[_DST]), known, NeighbourState(state & _STATES))


def _forwarding(
    body: bytes, names: Mapping[int, str], found: Mapping[int, bytes], device: str, state: int
) -> ForwardingEntry | BridgeEntry | None:
    plain = neighbour.parse(body, names)
    if isinstance(plain, ForwardingEntry) and not found.keys() & {_PORT, _VNI, _IFINDEX}:
        return plain
    bridge = names.get(read_u32(found[_MASTER]), "") if _MASTER in found else ""
    address = found.get(_LLADDR, b"")
    if len(address) != 6 or (not bridge and _DST not in found):
        return None
    return BridgeEntry(
        device,
        hardware_address(address),
        bridge,
        ip_address(found[_DST]) if _DST in found else None,
        local=bool(bridge) and bool(state & _NUD_PERMANENT),
        static=bool(state & _NUD_NOARP) or (not bridge and bool(state & _NUD_PERMANENT)),
        vlan=_U16.unpack(found[_VLAN])[0] if _VLAN in found else 0,
        port=_U16_NETWORK.unpack(found[_PORT])[0] if _PORT in found else 0,
        vni=read_u32(found[_VNI]) if _VNI in found else None,
        via=names.get(read_u32(found[_IFINDEX]), "") if _IFINDEX in found else "",
    )
