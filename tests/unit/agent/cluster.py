"""A cluster on paper: `node1`, which has each backend in each mode of address families that it carries, and peers."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from nankeen.agent.fabric import Fabric
from nankeen.agent.join import Prepared, Running, prepare
from nankeen.agent.settings import Settings
from nankeen.model.address import HardwareAddress, IPNetwork
from nankeen.model.lease import Endpoint, Lease, Offer, Reach
from nankeen.model.netconf import NetworkConfig
from nankeen.model.secret import Secret
from nankeen.model.state import PROTOCOL_KERNEL, Address, Device, Link, Object, Route, State
from nankeen.model.wireguard import KeyPair

MODES: Mapping[str, tuple[int, ...]] = {"ipv4": (4,), "ipv6": (6,), "dual": (4, 6)}
BACKENDS: Mapping[str, Mapping[str, object]] = {
    "vxlan": {"Type": "vxlan"},
    "vxlan-7": {"Type": "vxlan", "VNI": 7},
    "vxlan-direct": {"Type": "vxlan", "DirectRouting": True},
    "host-gw": {"Type": "host-gw"},
    "wireguard": {"Type": "wireguard"},
    "wireguard-auto": {"Type": "wireguard", "Mode": "auto"},
    "ipip": {"Type": "ipip"},
    "ipsec": {"Type": "ipsec", "PSK": "0123456789abcdef" * 6},
    "extension": {"Type": "extension", "SubnetAddCommand": "/bin/true $SUBNET", "SubnetRemoveCommand": "/bin/true"},
    "udp": {"Type": "udp"},
    "alloc": {"Type": "alloc"},
}
IPV4_ONLY = {"ipip", "ipsec"}
CASES = [(name, mode) for name in BACKENDS for mode in MODES if mode == "ipv4" or name not in IPV4_ONLY]
"""Each backend with each mode that it carries."""

OUR_VTEP = HardwareAddress.parse("02:00:00:00:00:01")
SETTINGS = Settings("node1", "sqlite:///nowhere")
KEYS = KeyPair.of(Secret(bytes(range(32))))
UNDERLAY: Sequence[Object] = (
    Link("eth0", Device(""), 1500, HardwareAddress.parse("02:00:00:01:00:01"), master="", txqlen=1000, carrier=True),
    Address("eth0", ip_interface("192.168.0.1/24")),
    Address("eth0", ip_interface("fd99::1/64")),
    Route(ip_network("192.168.0.0/24"), "eth0", protocol=PROTOCOL_KERNEL),
    Route(ip_network("fd99::/64"), "eth0", protocol=PROTOCOL_KERNEL, metric=256),
    Route(ip_network("0.0.0.0/0"), "eth0", ip_address("192.168.0.254")),
    Route(ip_network("::/0"), "eth0", ip_address("fd99::ff")),
)


def config(name: str, mode: str, fallbacks: Sequence[str] = ()) -> NetworkConfig:
    document: dict[str, object] = {"EnableIPv4": 4 in MODES[mode], "EnableIPv6": 6 in MODES[mode]}
    document |= {"Network": "10.244.0.0/16"} if 4 in MODES[mode] else {}
    document |= {"IPv6Network": "fd00:244::/48"} if 6 in MODES[mode] else {}
    document |= {"Backend": BACKENDS[name], "Fallbacks": [BACKENDS[other] for other in fallbacks]}
    return NetworkConfig.parse(json.dumps(document))


def subnet(number: int, version: int) -> IPNetwork:
    return ip_network(f"10.244.{number}.0/24" if version == 4 else f"fd00:244:0:{number}::/64")


def prepared(wanted: NetworkConfig, observed: State, before: Sequence[Running] = ()) -> Prepared:
    """As the agent does it, with a key that no kernel has to make."""
    found = prepare(SETTINGS, wanted, observed, lambda _: (), before)
    return replace(found, node=replace(found.node, keys=KEYS))


def fabric(name: str, mode: str, standing: tuple[Lease, ...] = ()) -> Fabric:
    """That of `node1` with its subnets, and no peers yet."""
    vteps = [Link(f"{prefix}.{vni}", Device("dummy"), address=OUR_VTEP) for prefix in PREFIXES for vni in (1, 7)]
    found = replace(prepared(config(name, mode), State([*UNDERLAY, *vteps])), standing=standing)
    return found.fabric(tuple(subnet(1, version) for version in MODES[mode]))


PREFIXES = ("flannel", "flannel-v6")


def lease(number: int, names: Sequence[str], mode: str, *, version: int = 0, off_link: bool = False) -> Lease:
    """A peer that receives by these backends, the first preferred. What it announces follows from `version`."""
    base = {4: f"192.168.{int(off_link)}.{number + 40 * version}", 6: f"fd99:0:0:{int(off_link)}::{number}{version}"}
    first, *others = names
    endpoints = tuple(
        Endpoint(subnet(number, family), Reach(ip_address(base[family]), announcement(first, number, version)))
        for family in MODES[mode]
    )
    offers = tuple(
        Offer(str(BACKENDS[name]["Type"]), (announcement(name, number, version),) * len(endpoints)) for name in others
    )
    return Lease(f"node{number}", announced(first), endpoints, None, offers)


def announced(name: str) -> str:
    kind = str(BACKENDS[name]["Type"])
    return "" if kind in {"alloc", "udp"} else kind


def announcement(name: str, number: int, version: int = 0) -> str | None:
    """What a peer's lease tells for that backend."""
    match BACKENDS[name]["Type"]:
        case "vxlan":
            vni = BACKENDS[name].get("VNI", 1)
            return f'{{"VNI":{vni},"VtepMAC":"{HardwareAddress(bytes([2, 0, 0, 2, version, number]))}"}}'
        case "wireguard":
            key = b64encode(bytes([number, version] * 16)).decode()
            return f'{{"PublicKey":"{key}","Port":51820}}'
        case "extension":
            return f'"hello {version}"'
    return None
