"""The packet filter as a value: one nftables table of our own, and the networks that other firewalls must let through.

`str()` of a table is what `nft --stateless --terse list table inet nankeen` prints: without counters' values, and
without the elements of its sets, which change with every lease and are kept beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from nankeen.model.address import Family, IPAddress, IPNetwork, family_of

TABLE = "nankeen"
"""The table's name, in nftables' family `inet`: both versions of IP."""

_SELECTOR = {Family.IPV4: "ip", Family.IPV6: "ip6"}


class Verdict(Enum):
    """What becomes of a packet that a rule matches."""

    RETURN = "return"
    DROP = "counter drop"
    MASQUERADE = "masquerade"
    MASQUERADE_FULLY_RANDOM = "masquerade fully-random"


@dataclass(frozen=True, slots=True)
class Jump:
    """The packet goes on in another chain, and comes back where that one returns."""

    chain: str

    def __str__(self) -> str:
        return f"jump {self.chain}"


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A named set of addresses of one family."""

    name: str
    family: Family

    def __str__(self) -> str:
        kind = "ipv4_addr" if self.family is Family.IPV4 else "ipv6_addr"
        return f"\tset {self.name} {{\n\t\ttype {kind}\n\t}}"


@dataclass(frozen=True, slots=True)
class Inside:
    """A condition of an address: that it lies in a network or a set."""

    place: IPNetwork | AddressSet

    @property
    def family(self) -> Family:
        return self.place.family if isinstance(self.place, AddressSet) else family_of(self.place)

    def __str__(self) -> str:
        if isinstance(self.place, AddressSet):
            return f"@{self.place.name}"
        alone = self.place.prefixlen == self.place.max_prefixlen
        return str(self.place.network_address if alone else self.place)


@dataclass(frozen=True, slots=True)
class Outside(Inside):
    """A condition of an address: that it is of the same family, and does not lie there."""

    def __str__(self) -> str:
        return f"!= {Inside.__str__(self)}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A verdict for the packets that meet every condition given."""

    verdict: Verdict | Jump
    device: str | None = None
    """What the packet came in by."""
    ports: tuple[int, ...] = ()
    """UDP destination ports, ascending."""
    mark: int | None = None
    """A bit that is set in the packet's mark, whatever the others are."""
    source: Inside | None = None
    destination: Inside | None = None

    def __str__(self) -> str:
        parts = [f"meta mark & 0x{self.mark:08x} == 0x{self.mark:08x}"] if self.mark is not None else []
        parts += [f'iifname "{self.device}"'] if self.device is not None else []
        parts += [f"udp dport {_listed(self.ports)}"] if self.ports else []
        parts += [f"{_SELECTOR[self.source.family]} saddr {self.source}"] if self.source else []
        parts += [f"{_SELECTOR[self.destination.family]} daddr {self.destination}"] if self.destination else []
        return " ".join([*parts, self.verdict.value if isinstance(self.verdict, Verdict) else str(self.verdict)])


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order. `hook` is where the kernel enters it, "" for a chain that only rules lead to."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""
    """As nft writes it: `type filter hook input priority filter`. What no rule decides on is accepted."""

    def __str__(self) -> str:
        lines = [f"\t\t{self.hook}; policy accept;"] if self.hook else []
        lines += [f"\t\t{rule}" for rule in self.rules]
        return "\n".join([f"\tchain {self.name} {{", *lines, "\t}"])


@dataclass(frozen=True, slots=True)
class Table:
    """Sets and chains, each chain after those that jump to it."""

    chains: tuple[Chain, ...]
    sets: tuple[AddressSet, ...] = ()

    def __str__(self) -> str:
        parts = [*map(str, self.sets), *map(str, self.chains)]
        return "\n".join([f"table inet {TABLE} {{", "\n\n".join(parts), "}"])


@dataclass(frozen=True, slots=True)
class Firewall:
    """All that one node's packet filter shall hold."""

    table: Table | None = None
    """None where nothing of the kind is wanted."""
    peers: frozenset[IPAddress] = field(default_factory=frozenset)
    """The elements of the table's sets, each address in the set of its family."""
    forwarded: tuple[IPNetwork, ...] = ()
    """Networks from and to which iptables' FORWARD chain must let packets through, where it is in use."""

    def elements(self, of: AddressSet) -> frozenset[IPAddress]:
        """What that set shall hold."""
        return frozenset(address for address in self.peers if family_of(address) is of.family)


NO_FIREWALL = Firewall()


def _listed(ports: tuple[int, ...]) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{{ {', '.join(map(str, ports))} }}"
