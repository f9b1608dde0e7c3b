"""A bridge that a network configuration asks for, and the gateways on it.

The agent keeps `cni0` with the node's own pod subnets, so nothing is to be done for most pods. Here is what a
configuration wants besides: another bridge, ranges given by hand, promiscuity, VLANs.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from nankeen.cni.config import PluginConfig
from nankeen.cni.error import CniError, Code
from nankeen.cni.reading import check_interface_name
from nankeen.kernel import namespace as namespaces
from nankeen.kernel.netlink import address, bridge, link, reception
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.address import HardwareAddress, IPInterface
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Bridge, Link, Sysctl
from nankeen.pods.addresses import Reservation
from nankeen.pods.attach import find, write_setting
from nankeen.pods.network import BRIDGE, PodNetwork, hardware_address, interface_address
from nankeen.pods.network import gateway as usual_gateway

_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


@dataclass(frozen=True, slots=True)
class WantedBridge:
    """What a configuration asks of its bridge."""

    name: str
    mtu: int
    """In bytes."""
    gateways: tuple[IPInterface, ...] = ()
    """Addresses that it is to have."""
    force: bool = False
    """Whether an address that contradicts them goes."""
    promiscuous: bool = False
    filters_vlans: bool = False
    vlan: int = 0
    """The VLAN that the gateways are in; 0 for the bridge itself."""

    @property
    def holder(self) -> str:
        """The device that has the gateways."""
        return f"{self.name}.{self.vlan}" if self.vlan else self.name


def wanted_bridge(config: PluginConfig, network: PodNetwork, reservation: Reservation) -> WantedBridge | None:
    """What is to be done to the bridge; None where the agent has done it all. Raises `CniError`."""
    if config.bridge != BRIDGE and any(item.network in network.subnets for item in reservation.addresses):
        problem = f"the node's pod subnets are on {BRIDGE}"
        remedy = f"leave `bridge` out, or give `ipam.ranges` for {config.bridge}"
        raise CniError(Code.INVALID_CONFIG, problem, where="bridge", remedy=remedy)
    pairs = zip(reservation.gateways, reservation.addresses, strict=True)
    gateways = [interface_address(leads, item.network) for leads, item in pairs]
    kept = {interface_address(usual_gateway(item), item) for item in network.subnets} if config.bridge == BRIDGE else ()
    vlans = config.vlans
    wanted = WantedBridge(
        name=config.bridge,
        mtu=config.mtu or network.mtu,
        gateways=tuple(item for item in gateways if item not in kept) if config.gateway else (),
        force=config.force_address,
        promiscuous=config.promiscuous,
        filters_vlans=bool(vlans.native or vlans.trunk),
        vlan=vlans.native,
    )
    plain = not (wanted.gateways or wanted.promiscuous or wanted.filters_vlans)
    if wanted.vlan:
        check_interface_name(wanted.holder, "bridge and vlan", Code.INVALID_CONFIG)
    return None if plain and config.bridge == BRIDGE else wanted


def ensure(wanted: WantedBridge) -> None:
    """Makes the bridge, or what it lacks; what else there is on it stays. Raises `CniError` and `KernelError`."""
    with NetlinkSocket() as node:
        index = _ensure_link(wanted, node)
        if wanted.filters_vlans:
            _filter_vlans(wanted, index, node)
        if wanted.promiscuous:
            node.request(reception.change(index, promiscuous=True), wanted.name)
        if wanted.gateways:
            if wanted.vlan:
                index = _ensure_vlan_end(wanted, index, node)
            _ensure_addresses(wanted, index, node)


def _ensure_link(wanted: WantedBridge, node: NetlinkSocket) -> int:
    """The bridge's interface index. The agent alone makes its own."""
    found = find(node, wanted.name)
    if found is None and wanted.name != BRIDGE:
        chosen = hardware_address(wanted.gateways[0].ip) if wanted.gateways else HardwareAddress.random()
        made = Link(wanted.name, Bridge(), wanted.mtu, chosen)
        node.request(link.create(made, {}), wanted.name)
        write_setting(Sysctl(f"net/ipv6/conf/{wanted.name}/accept_dad", "0"))
        found = find(node, wanted.name)
    if found is None:
        raise CniError(Code.TRY_AGAIN_LATER, "there is no such bridge yet", where=wanted.name)
    if link.parse(found, {}).kind != Bridge():
        problem = "a device of this name stands on the node, and is no bridge"
        raise CniError(Code.INTERFACE_TAKEN, problem, where=wanted.name, remedy="name another bridge")
    index, _ = link.index_and_name(found)
    if wanted.name != BRIDGE:
        write_setting(Sysctl(f"net/ipv6/conf/{wanted.name}/accept_ra", "0"))
    node.request(link.set_up(index), wanted.name)
    return index


def _filter_vlans(wanted: WantedBridge, index: int, node: NetlinkSocket) -> None:
    try:
        node.request(bridge.filter_vlans(index), wanted.name)
    except KernelError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        remedy = "it needs CONFIG_BRIDGE_VLAN_FILTERING; or leave out vlan and vlanTrunk"
        raise KernelError(
            "this kernel's bridges know no VLANs", where=wanted.name, remedy=remedy, errno=error.errno
        ) from error


def _ensure_vlan_end(wanted: WantedBridge, index: int, node: NetlinkSocket) -> int:
    """The device by which the node itself is in the VLAN: a veth whose other end is a port of the bridge."""
    port = f"veth{hashlib.sha256(wanted.holder.encode()).hexdigest()[:8]}"
    if node.index(wanted.holder) is None:
        with namespaces.current() as own:
            node.request(link.veth(wanted.holder, port, own.descriptor, mtu=wanted.mtu), wanted.holder)
    holder, there = node.index_of(wanted.holder), node.index_of(port)
    # Also of one that stands: whoever made it may have been killed before he was done.
    write_setting(Sysctl(f"net/ipv6/conf/{wanted.holder}/accept_ra", "0"))
    for message in (
        link.set_master(there, index),
        bridge.leave_vlan(there, 1),
        bridge.native_vlan(there, wanted.vlan),
        link.set_up(there),
        link.set_up(holder),
    ):
        node.request(message, port)
    return holder


def _ensure_addresses(wanted: WantedBridge, index: int, node: NetlinkSocket) -> None:
    indexes = {wanted.holder: index}
    standing = list(_addresses(wanted.holder, index, node))
    for found in standing:
        if not any(_contradicts(found, item) for item in wanted.gateways):
            continue
        if not wanted.force or wanted.name == BRIDGE:
            told = " and ".join(map(str, wanted.gateways))
            problem = f"{wanted.holder!r} already has an IP address different from {told}: {found}"
            remedy = "name another bridge" if wanted.name == BRIDGE else "name another bridge, or set forceAddress"
            raise CniError(Code.INVALID_CONFIG, problem, remedy=remedy)
        node.request(address.remove(Address(wanted.holder, found), indexes), f"{found} on {wanted.holder}")
    for item in wanted.gateways:
        if item not in standing:
            message = address.add(Address(wanted.holder, item), indexes, nodad=item.version == 6)
            node.request(message, f"{item} on {wanted.holder}")
        write_setting(Sysctl(_FORWARDING[item.version], "1"))


def _addresses(name: str, index: int, node: NetlinkSocket) -> Iterator[IPInterface]:
    """The device's addresses; link-local ones of IPv6 come by themselves and are nobody's choice."""
    for _, body in node.dump(address.dump()):
        found = address.parse(body, {index: name})
        if found is not None and not (found.interface.version == 6 and found.interface.ip.is_link_local):
            yield found.interface


def _contradicts(found: IPInterface, wanted: IPInterface) -> bool:
    """Whether two addresses cannot stand side by side: two of IPv4, or two in one network. So it is with the reference
    plugin.
    """
    if found == wanted or found.version != wanted.version:
        return False
    return found.version == 4 or found.ip in wanted.network or wanted.ip in found.network
