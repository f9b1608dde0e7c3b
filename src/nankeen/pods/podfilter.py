"""Packet filter rules of single pods: against false hardware addresses, and for masquerade by a configuration.

Only `macspoofchk` and `ipMasq` of a network configuration ask for them. They are in tables of their own, made when they
are first needed: `bridge nankeen-pods` and `inet nankeen-pods`. Adding and removing can both be done twice.

Who takes them away does not go by a configuration: that of a DEL or a GC may be another than the ADD's, as when a node
has changed from flannel's list to ours.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network

from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import BRIDGE, INET, get_table
from nankeen.kernel.program import run
from nankeen.model.address import HardwareAddress, IPAddress, IPNetwork
from nankeen.model.errors import KernelError

TABLE = "nankeen-pods"
_REMEDY = "install the package nftables"
_BEFORE_ALL = -300
"""Priority of what is first to see a frame (NF_BR_PRI_NAT_DST_BRIDGED, linux/netfilter_bridge.h)."""
_NO_NFTABLES = frozenset({errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})
"""What a kernel without nftables says to netfilter's messages (net/netfilter/nfnetlink.c)."""
_MULTICAST: dict[int, IPNetwork] = {4: IPv4Network("224.0.0.0/4"), 6: IPv6Network("ff00::/8")}


class PodFilter:
    """The rules of pods that go. To close a socket of netfilter takes the kernel 20 ms, so one is kept for all."""

    def __init__(self) -> None:
        self._opened: NetfilterSocket | None = None

    def masquerades(self) -> bool:
        """Whether there may be pods with masquerade of their own. Raises `KernelError`."""
        return self._stands(INET)

    def clear(self, ports: Iterable[str], addresses: Sequence[IPAddress]) -> None:
        """Takes away what there is of pods of these ports and addresses; nothing is no error. Raises `KernelError`."""
        if self._stands(BRIDGE):
            unguard(ports)
        if addresses and self._stands(INET):
            unmasquerade(addresses)

    def close(self) -> None:
        """Leaves all rules as they are."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _stands(self, family: int) -> bool:
        try:
            if self._opened is None:
                self._opened = NetfilterSocket()
            return self._opened.get(get_table(family, TABLE)) is not None
        except KernelError as error:
            if error.errno in _NO_NFTABLES:
                return False
            raise


def guard(port: str, sender: HardwareAddress) -> None:
    """From now on the bridge drops what comes in by the port from any other sender. Raises `KernelError`."""
    _apply([*_guard_table(), *_guard_rules(port, sender)])


def unguard(ports: Iterable[str]) -> None:
    """Takes ports' rules away; what is not there is no error. Raises `KernelError`."""
    lines = [line for port in ports for line in _unguard_rules(port)]
    if lines:
        _apply([*_guard_table(), *lines])


def masquerade(pods: Sequence[IPAddress], networks: Iterable[IPNetwork]) -> None:
    """From now on these pods' packets to other networks get the node's address. Raises `KernelError`."""
    local = [f"add element inet {TABLE} local{item.version} {{ {item} }}" for item in networks]
    _apply([*_masquerade_table(), *local, *_elements("add", pods)])


def unmasquerade(pods: Sequence[IPAddress]) -> None:
    """Takes pods' rules away; what is not there is no error. Raises `KernelError`."""
    if pods:
        _apply([*_masquerade_table(), *_elements("add", pods), *_elements("delete", pods)])


def _apply(lines: Iterable[str]) -> None:
    """All of it in one transaction, or nothing."""
    run(["nft", "-f", "-"], "\n".join(lines) + "\n", remedy=_REMEDY)


def _guard_table() -> Iterator[str]:
    yield f"add table bridge {TABLE}"
    yield f"add map bridge {TABLE} senders {{ type ifname : verdict; }}"
    yield f"add chain bridge {TABLE} prerouting {{ type filter hook prerouting priority {_BEFORE_ALL}; }}"
    yield f"flush chain bridge {TABLE} prerouting"
    yield f"add rule bridge {TABLE} prerouting iifname vmap @senders"


def _guard_rules(port: str, sender: HardwareAddress) -> Iterator[str]:
    yield f"add chain bridge {TABLE} {port}"
    yield f"flush chain bridge {TABLE} {port}"
    yield f"add rule bridge {TABLE} {port} ether saddr {sender} return"
    yield f"add rule bridge {TABLE} {port} counter drop"
    yield f'add element bridge {TABLE} senders {{ "{port}" : jump {port} }}'


def _unguard_rules(port: str) -> Iterator[str]:
    yield f"add chain bridge {TABLE} {port}"
    yield f'add element bridge {TABLE} senders {{ "{port}" : jump {port} }}'
    yield f'delete element bridge {TABLE} senders {{ "{port}" : jump {port} }}'
    yield f"flush chain bridge {TABLE} {port}"
    yield f"delete chain bridge {TABLE} {port}"


def _masquerade_table() -> Iterator[str]:
    yield f"add table inet {TABLE}"
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        yield f"add set inet {TABLE} pods{version} {{ type {kind}; }}"
        yield f"add set inet {TABLE} local{version} {{ type {kind}; flags interval; auto-merge; }}"
    yield f"add chain inet {TABLE} postrouting {{ type nat hook postrouting priority 100; }}"
    yield f"flush chain inet {TABLE} postrouting"
    for version, word in ((4, "ip"), (6, "ip6")):
        rule = f"add rule inet {TABLE} postrouting {word} saddr @pods{version}"
        yield f"{rule} {word} daddr @local{version} return"
        yield f"{rule} {word} daddr != {_MULTICAST[version]} masquerade"


def _elements(verb: str, pods: Sequence[IPAddress]) -> Iterator[str]:
    for version in (4, 6):
        listed = ", ".join(str(item) for item in pods if item.version == version)
        if listed:
            yield f"{verb} element inet {TABLE} pods{version} {{ {listed} }}"
