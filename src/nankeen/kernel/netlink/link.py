"""RTM_*LINK: network devices (linux/if_link.h)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from dataclasses import replace

from nankeen.kernel.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    attribute,
    attributes,
    message,
    nested,
    read_string,
    read_u32,
    string,
    u32,
)
from nankeen.kernel.netlink.neighbour import AF_BRIDGE, hardware_address, ip_address
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.state import Bridge, Device, Ipip, Link, LinkKind, Tun, Veth, Vxlan

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
_IFINFOMSG = struct.Struct("=BBHiII")
_U16_NETWORK = struct.Struct(">H")
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x1_0000

_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _LINKINFO, _IFALIAS = 1, 3, 4, 5, 10, 13, 18, 20
_NET_NS_FD, _EXT_MASK, _LINK_NETNSID, _GSO_MAX_SIZE, _GSO_IPV4_MAX_SIZE = 28, 29, 37, 41, 63
_INFO_KIND, _INFO_DATA = 1, 2
_EXT_SKIP_STATS = 1 << 3

_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6, _VXLAN_GBP = 1, 3, 4, 7, 15, 17, 23
_IPTUN_LOCAL, _IPTUN_REMOTE = 2, 3  # linux/if_tunnel.h
_TUN_TYPE, _TUN_PERSIST, _TUN_MULTI_QUEUE, _IFF_TUN = 3, 6, 7, 1
_VETH_PEER = 1


def create(link: Link, indexes: Mapping[str, int]) -> bytes:
    """Makes the device, down. It must not exist."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + string(_IFNAME, link.name) + _settings(link, indexes)
    data = _data(link.kind, indexes)
    body += nested(_LINKINFO, string(_INFO_KIND, kernel_name(link.kind)), *([nested(_INFO_DATA, data)] if data else []))
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def attempt(name: str, kind: str) -> bytes:
    """Asks for a device that no kernel makes, for its MTU is negative (dev_validate_mtu in net/core/dev.c): what
    matters is whether it is refused for that, or for its kind.
    """
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + string(_IFNAME, name) + u32(_MTU, 0xFFFF_FFFF)
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body + nested(_LINKINFO, string(_INFO_KIND, kind)))


def change(link: Link, observed: Link, indexes: Mapping[str, int]) -> bytes:
    """Gives a device the settings of `link`, its kind excepted, and sets it up or down.

    A hardware address that it has already is not sent: the kernel would drop the device's neighbours all the same.
    """
    flags = _IFF_UP if link.up else 0
    wanted = replace(link, address=None) if link.address == observed.address else link
    body = _IFINFOMSG.pack(0, 0, 0, indexes[link.name], flags, _IFF_UP) + _settings(wanted, indexes)
    return message(RTM_NEWLINK, 0, body)


def set_up(index: int, gso_max_size: int | None = None) -> bytes:
    """Has a device come up, and, if need be, leave no larger packets than that unsegmented, in bytes."""
    limit = _gso(gso_max_size) if gso_max_size is not None else b""
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, _IFF_UP, _IFF_UP) + limit)


def set_down(index: int) -> bytes:
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, _IFF_UP))


def remove(index: int) -> bytes:
    return message(RTM_DELLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0))


def remove_named(name: str) -> bytes:
    return message(RTM_DELLINK, 0, _IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + string(_IFNAME, name))


def veth(
    name: str,
    peer: str,
    peer_namespace: int,
    *,
    mtu: int | None = None,
    master: int | None = None,
    address: HardwareAddress | None = None,
    peer_address: HardwareAddress | None = None,
    up: bool = False,
) -> bytes:
    """A veth pair, each end made in its final namespace: `name` where the socket is, `peer` in the namespace behind the
    descriptor. `up` is for the near end; the kernel refuses a peer that is made up, before its other end exists.
    """
    common = u32(_MTU, mtu) if mtu is not None else b""
    far = _IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + string(_IFNAME, peer) + u32(_NET_NS_FD, peer_namespace) + common
    far += attribute(_ADDRESS, peer_address.octets) if peer_address else b""
    near = _IFINFOMSG.pack(0, 0, 0, 0, _IFF_UP if up else 0, _IFF_UP) + string(_IFNAME, name) + common
    near += attribute(_ADDRESS, address.octets) if address else b""
    near += u32(_MASTER, master) if master is not None else b""
    near += nested(_LINKINFO, string(_INFO_KIND, "veth"), nested(_INFO_DATA, attribute(_VETH_PEER, far)))
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, near)


def _settings(link: Link, indexes: Mapping[str, int]) -> bytes:
    body = b""
    if link.mtu is not None:
        body += u32(_MTU, link.mtu)
    if link.address is not None:
        body += attribute(_ADDRESS, link.address.octets)
    if link.master is not None:
        body += u32(_MASTER, indexes[link.master] if link.master else 0)
    if link.txqlen is not None:
        body += u32(_TXQLEN, link.txqlen)
    if link.gso_max_size is not None:
        body += _gso(link.gso_max_size)
    return body


def _gso(largest: int) -> bytes:
    return u32(_GSO_MAX_SIZE, largest) + u32(_GSO_IPV4_MAX_SIZE, largest)


def kernel_name(kind: LinkKind) -> str:
    """The kernel's name for the kind, and that of the module which brings it (MODULE_ALIAS_RTNL_LINK)."""
    return kind.kind if isinstance(kind, Device) else type(kind).__name__.lower()


def _data(kind: LinkKind, indexes: Mapping[str, int]) -> bytes:
    """The attributes of the kind."""
    match kind:
        case Vxlan():
            return _vxlan_data(kind, indexes)
        case Ipip():
            return _ipip_data(kind)
        case Bridge() | Veth() | Tun() | Device():
            return b""


def _vxlan_data(vxlan: Vxlan, indexes: Mapping[str, int]) -> bytes:
    data = u32(_VXLAN_ID, vxlan.vni)
    data += attribute(_VXLAN_PORT, _U16_NETWORK.pack(vxlan.port))
    data += attribute(_VXLAN_LEARNING, bytes([vxlan.learning]))
    if vxlan.underlay is not None:
        data += u32(_VXLAN_LINK, indexes[vxlan.underlay])
    if vxlan.local is not None:
        data += attribute(_VXLAN_LOCAL if vxlan.local.version == 4 else _VXLAN_LOCAL6, vxlan.local.packed)
    if vxlan.gbp:
        data += attribute(_VXLAN_GBP, b"")
    return data


def _ipip_data(ipip: Ipip) -> bytes:
    data = attribute(_IPTUN_LOCAL, ipip.local.packed) if ipip.local is not None else b""
    return data + (attribute(_IPTUN_REMOTE, ipip.remote.packed) if ipip.remote is not None else b"")


def dump() -> bytes:
    """Asks for all devices, without their statistics."""
    return message(RTM_GETLINK, 0, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0) + u32(_EXT_MASK, _EXT_SKIP_STATS))


def get(index: int) -> bytes:
    """Asks for one device.

    Since Linux 6.8 that settles its operational state first: a link whose other end has just come up carries packets
    from the answer on, and not from when a worker of the kernel finds the time.
    """
    return message(RTM_GETLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0))


def index_of(body: bytes) -> int:
    """The interface index of the device that a message is about."""
    index: int = _IFINFOMSG.unpack_from(body)[3]
    return index


def index_and_name(body: bytes) -> tuple[int, str]:
    """Which device a message is about."""
    return index_of(body), read_string(attributes(body, 16).get(_IFNAME, b""))


def peer_namespace(body: bytes) -> int | None:
    """The number by which the socket's namespace knows that of a veth's other end; None where it is the same."""
    payload = attributes(body, 16).get(_LINK_NETNSID)
    return None if payload is None else read_u32(payload)


def set_mtu(index: int, mtu: int, gso_max_size: int | None = None) -> bytes:
    """Gives a device another MTU, and another limit to what is left to it unsegmented, both in bytes."""
    limit = _gso(gso_max_size) if gso_max_size is not None else b""
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0) + u32(_MTU, mtu) + limit)


def set_master(index: int, master: int) -> bytes:
    """Puts a device into a bridge."""
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0) + u32(_MASTER, master))


def is_about_a_port(body: bytes) -> bool:
    """Whether a message tells only of a device's part as a port of a bridge."""
    return body[0] == AF_BRIDGE


def peer_index(body: bytes) -> int:
    """The interface index of a veth's other end, in whatever namespace that is; 0 for a device without one."""
    return read_u32(attributes(body, 16).get(_LINK, bytes(4)))


def set_alias(index: int, text: str) -> bytes:
    """Gives a device a text that `ip link` shows, of 255 bytes at most; "" takes it away."""
    return message(RTM_NEWLINK, 0, _IFINFOMSG.pack(0, 0, 0, index, 0, 0) + string(_IFALIAS, text))


def alias(body: bytes) -> str:
    """The text that a device has, or ""."""
    return read_string(attributes(body, 16).get(_IFALIAS, b""))


def master_index(body: bytes) -> int:
    """The interface index of the bridge that a device is a port of; 0 for none."""
    return read_u32(attributes(body, 16).get(_MASTER, bytes(4)))


def parse(body: bytes, names: Mapping[int, str]) -> Link:
    """The device that a message tells of; `names` resolves the devices it refers to."""
    _, _, _, _, flags, _ = _IFINFOMSG.unpack_from(body)
    found = attributes(body, 16)
    address = found.get(_ADDRESS, b"")
    return Link(
        name=read_string(found[_IFNAME]),
        kind=_parse_kind(attributes(found.get(_LINKINFO, b"")), names),
        mtu=read_u32(found[_MTU]) if _MTU in found else 0,
        address=hardware_address(address) if len(address) == 6 else None,
        up=bool(flags & _IFF_UP),
        master=names.get(read_u32(found[_MASTER]), "") if _MASTER in found else "",
        txqlen=read_u32(found[_TXQLEN]) if _TXQLEN in found else 0,
        gso_max_size=_gso_max_size(found),
        carrier=bool(flags & _IFF_LOWER_UP),
    )


def _gso_max_size(found: Mapping[int, bytes]) -> int:
    """For both families. Before Linux 6.3 IPv4 had none of its own."""
    sizes = [read_u32(found[kind]) for kind in (_GSO_MAX_SIZE, _GSO_IPV4_MAX_SIZE) if kind in found]
    return min(sizes, default=0)


def _parse_kind(info: Mapping[int, bytes], names: Mapping[int, str]) -> LinkKind:
    kind = read_string(info.get(_INFO_KIND, b""))
    match kind:
        case "vxlan":
            data = attributes(info.get(_INFO_DATA, b""))
            return Vxlan(
                vni=read_u32(data[_VXLAN_ID]),
                underlay=names.get(read_u32(data[_VXLAN_LINK])) if _VXLAN_LINK in data else None,
                local=_optional_address(data.get(_VXLAN_LOCAL) or data.get(_VXLAN_LOCAL6)),
                port=_U16_NETWORK.unpack(data[_VXLAN_PORT])[0],
                learning=bool(data[_VXLAN_LEARNING][0]),
                gbp=_VXLAN_GBP in data,
            )
        case "ipip":
            data = attributes(info.get(_INFO_DATA, b""))
            return Ipip(_optional_address(data.get(_IPTUN_LOCAL)), _optional_address(data.get(_IPTUN_REMOTE)))
        case "tun":
            data = attributes(info.get(_INFO_DATA, b""))
            if data.get(_TUN_TYPE) != bytes([_IFF_TUN]):
                return Device("tap")
            return Tun(data.get(_TUN_PERSIST) == b"\1", data.get(_TUN_MULTI_QUEUE) == b"\1")
        case "bridge":
            return Bridge()
        case "veth":
            return Veth()
        case _:
            return Device(kind)


def _optional_address(packed: bytes | None) -> IPAddress | None:
    """Of an address that was not set, the kernel tells zeros or nothing."""
    return ip_address(packed) if packed and any(packed) else None
