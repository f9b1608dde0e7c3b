"""What bridges and their ports can do besides forwarding, and devices by group (linux/if_bridge.h, linux/if_link.h)."""

from __future__ import annotations

import struct

from nankeen.kernel.netlink.link import RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK
from nankeen.kernel.netlink.message import attribute, message, nested, string, u32
from nankeen.kernel.netlink.neighbour import AF_BRIDGE

_IFINFOMSG = struct.Struct("=BBHiII")
_VLAN_INFO = struct.Struct("=HH")
"""struct bridge_vlan_info: flags and VLAN."""

_PROTINFO, _LINKINFO, _AF_SPEC, _GROUP = 12, 18, 26, 27
_INFO_KIND, _INFO_DATA = 1, 2
_BR_VLAN_FILTERING = 7
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_BRIDGE_VLAN_INFO = 2
_VLAN_PVID, _VLAN_UNTAGGED, _VLAN_RANGE_BEGIN, _VLAN_RANGE_END = 0x2, 0x4, 0x8, 0x10


def port(index: int, *, hairpin: bool, isolated: bool) -> bytes:
    """Sets up a port: `hairpin` lets a frame leave by the port that it came in by; of two ports that are `isolated`,
    neither hears the other.
    """
    body = attribute(_BRPORT_MODE, bytes([hairpin])) + attribute(_BRPORT_ISOLATED, bytes([isolated]))
    return message(RTM_SETLINK, 0, _IFINFOMSG.pack(AF_BRIDGE, 0, 0, index, 0, 0) + nested(_PROTINFO, body))


def filter_vlans(index: int) -> bytes:
    """Has a bridge keep VLANs apart."""
    data = nested(_INFO_DATA, attribute(_BR_VLAN_FILTERING, b"\1"))
    return message(
        RTM_NEWLINK,
        0,
        _IFINFOMSG.pack(0, 0, 0, index, 0, 0) + nested(_LINKINFO, string(_INFO_KIND, "bridge"), data),
    )


def native_vlan(index: int, vlan: int) -> bytes:
    """Puts a port's untagged frames into a VLAN."""
    return _vlans(RTM_SETLINK, index, (_VLAN_PVID | _VLAN_UNTAGGED, vlan))


def tagged_vlans(index: int, first: int, last: int) -> bytes:
    """Lets a port take part in VLANs by tagged frames; both ends are included."""
    if first == last:
        return _vlans(RTM_SETLINK, index, (0, first))
    return _vlans(RTM_SETLINK, index, (_VLAN_RANGE_BEGIN, first), (_VLAN_RANGE_END, last))


def leave_vlan(index: int, vlan: int) -> bytes:
    """Takes a port out of a VLAN."""
    return _vlans(RTM_DELLINK, index, (0, vlan))


def join_group(index: int, group: int) -> bytes:
    """Puts a device into a group, of which the kernel knows nothing but the number."""
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0) + u32(_GROUP, group))


def remove_group(group: int) -> bytes:
    """Removes all devices of a group at once: the kernel waits once for all of them to be out of use."""
    return message(RTM_DELLINK, 0, _IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + u32(_GROUP, group))


def _vlans(kind: int, index: int, *infos: tuple[int, int]) -> bytes:
    body = b"".join(attribute(_BRIDGE_VLAN_INFO, _VLAN_INFO.pack(*info)) for info in infos)
    return message(kind, 0, _IFINFOMSG.pack(AF_BRIDGE, 0, 0, index, 0, 0) + nested(_AF_SPEC, body))
