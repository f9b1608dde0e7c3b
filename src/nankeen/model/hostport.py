"""Host ports: ports of the node that lead to a pod, and the one nftables table that they are elements of.

A host port is an element of a map: what a runtime adds or takes is one message, and a packet is looked up once however
many ports there are. `str()` of a table is what `nft --stateless --terse list table inet nankeen-ports` prints.

    prerouting, output   packets for an address of the node's own, and no others      → ports
    ports                an address and a port of it in one4 or one6, else a port in any4 or any6: DNAT to the pod
    postrouting          what came from the node's own pods, or by 127.0.0.1, gets the node's address: its answer has to
                         come back by the node
    martians             packets of 127.0.0.0/8 from another host or a pod are dropped (RFC 1122, section 3.2.1.3)

Other tools' DNAT, of kube-proxy for example, stands at priority -100 and is asked first: a service keeps its port.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from nankeen.model.address import Family, IPAddress, IPNetwork, family_of

TABLE = "nankeen-ports"
"""The table's name, in nftables' family `inet`."""
MARK = 0x2000
"""The bit of a packet's mark that asks for masquerade, from DNAT until then; the portmap plugin's, too."""
MAPS = ("any4", "any6", "one4", "one6")
"""By host port alone, and by address and host port, of each family."""

_PORT = struct.Struct(">Hxx")
_PROTOCOL = struct.Struct(">Bxxx")
_KINDS = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


class Transport(Enum):
    """A protocol that has ports, by its number (RFC 5237)."""

    TCP = 6
    UDP = 17
    SCTP = 132

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A host port that a pod shall have."""

    protocol: Transport
    host_port: int
    container_port: int
    host_address: IPAddress | None = None
    """The node's address that it is on: None for all, an unspecified one (0.0.0.0, ::) for all of its family."""

    @property
    def alone(self) -> IPAddress | None:
        """The single address that it is on, if it is on one."""
        return None if self.host_address is None or self.host_address.is_unspecified else self.host_address

    def is_in(self, family: Family) -> bool:
        """Whether packets of that family are meant."""
        return self.host_address is None or family_of(self.host_address) is family

    def collides(self, other: PortMapping) -> bool:
        """Whether some packet would have two ways to go."""
        if (self.protocol, self.host_port) != (other.protocol, other.host_port):
            return False
        if not any(self.is_in(family) and other.is_in(family) for family in Family):
            return False
        return self.alone is None or other.alone is None or self.alone == other.alone

    def __str__(self) -> str:
        port = f"{self.protocol} port {self.host_port}"
        return f"{port} of {self.host_address}" if self.host_address else port


@dataclass(frozen=True, slots=True)
class HostPort:
    """One element of the table's maps: a port of the node, in one family, and where it leads."""

    protocol: Transport
    port: int
    target: IPAddress
    target_port: int
    address: IPAddress | None = None
    """The node's address that the port is on; None for all."""

    @property
    def map(self) -> str:
        """The name of its map."""
        return f"{'any' if self.address is None else 'one'}{self.target.version}"

    @property
    def key(self) -> bytes:
        """As the kernel has it: each part padded to four bytes (linux/netfilter/nf_tables.h, NFT_REG32_SIZE)."""
        place = b"" if self.address is None else self.address.packed
        return place + _PROTOCOL.pack(self.protocol.value) + _PORT.pack(self.port)

    @property
    def data(self) -> bytes:
        return self.target.packed + _PORT.pack(self.target_port)

    def __str__(self) -> str:
        place = "" if self.address is None else f"{self.address} . "
        return f"{place}{self.protocol} . {self.port} : {self.target} . {self.target_port}"


@dataclass(frozen=True, slots=True)
class PortTable:
    """The table of one node."""

    networks: tuple[IPNetwork, ...] = ()
    """Of the node's own pods."""
    ports: frozenset[HostPort] = frozenset()
    """The elements of its maps, which are kept beside its text."""

    def elements(self, name: str) -> dict[bytes, bytes]:
        """What that map shall hold."""
        return {port.key: port.data for port in self.ports if port.map == name}

    def __str__(self) -> str:
        return "\n".join([f"table inet {TABLE} {{", "\n\n".join([*map(_map, MAPS), *_chains(self.networks)]), "}"])


def _map(name: str) -> str:
    kind = _KINDS[int(name[-1])][1]
    place = f"{kind} . " if name.startswith("one") else ""
    return f"\tmap {name} {{\n\t\ttype {place}inet_proto . inet_service : {kind} . inet_service\n\t}}"


def _chains(networks: tuple[IPNetwork, ...]) -> Iterator[str]:
    local = "fib daddr type local jump ports"
    yield _chain(
        "martians",
        "type filter hook prerouting priority raw; policy accept;",
        'iifname != "lo" ip saddr 127.0.0.0/8 counter drop',
        'iifname != "lo" ip daddr 127.0.0.0/8 counter drop',
    )
    yield _chain("prerouting", "type nat hook prerouting priority dstnat + 10; policy accept;", local)
    yield _chain("output", "type nat hook output priority -90; policy accept;", local)
    yield _chain("ports", *_decisions(networks))
    yield _chain(
        "postrouting",
        "type nat hook postrouting priority srcnat - 10; policy accept;",
        f"meta mark & 0x{MARK:08x} == 0x{MARK:08x} masquerade",
    )


def _decisions(networks: tuple[IPNetwork, ...]) -> Iterator[str]:
    # The kernel takes no answer from another host to ::1, whatever is set; so who asks there is refused at once.
    yield "ip6 daddr ::1 return"
    near = [(_KINDS[network.version][0], str(network)) for network in networks]
    for word, network in [("ip", "127.0.0.0/8"), *near]:
        yield f"{word} saddr {network} meta mark set meta mark | 0x{MARK:08x}"
    for version, (word, _) in _KINDS.items():
        port = "meta l4proto . th dport map"
        yield f"dnat {word} to {word} daddr . {port} @one{version}"
        # Nothing else would say which family: nft adds no condition of its own to a lookup without an address.
        yield f"meta nfproto ipv{version} dnat {word} to {port} @any{version}"
    yield f"meta mark set meta mark & 0x{0xFFFF_FFFF & ~MARK:08x}"


def _chain(name: str, *lines: str) -> str:
    return "\n".join([f"\tchain {name} {{", *(f"\t\t{line}" for line in lines), "\t}"])
