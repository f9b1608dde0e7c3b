"""The network configuration: the cluster's pod networks, how they are cut into subnets, and the backend.

The format is flannel's net-conf.json, with its defaults and its derivation of a pool. Different on purpose: a missing
`Backend` is vxlan, as flannel's documentation says (its code takes udp); `SubnetMin` above `SubnetMax` and an
`IPv6Network` that is IPv4 are refused here, where flannel fails later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import NamedTuple

from nankeen.model.address import Family, IPAddress, IPNetwork, family_of, parse_address, parse_network
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import JSON, Fields, compact, parse_object

WHERE = "network configuration"
DEFAULT_BACKEND = "vxlan"
MOST_FALLBACKS = 7


@dataclass(frozen=True, slots=True)
class Pool:
    """One family of the pod network, and the subnets that nodes may lease from it."""

    network: IPNetwork
    subnet_length: int
    """The prefix length of each subnet."""
    first: IPNetwork
    last: IPNetwork
    """The subnets that may be leased lie from `first` to `last`, both included."""

    @property
    def family(self) -> Family:
        return family_of(self.network)

    @property
    def size(self) -> int:
        """How many subnets there are; of IPv6 more than `len` could tell."""
        return (_base(self.last) - _base(self.first)) // self._step + 1

    def __iter__(self) -> Iterator[IPNetwork]:
        """Every subnet from first to last, made as it is asked for."""
        for base in range(_base(self.first), _base(self.last) + 1, self._step):
            yield _network(self.family, base, self.subnet_length)

    def admits(self, subnet: IPNetwork) -> bool:
        """Whether a node may lease exactly this subnet."""
        return (
            subnet.version == self.network.version
            and subnet.prefixlen == self.subnet_length
            and _base(self.first) <= _base(subnet) <= _base(self.last)
        )

    @property
    def _step(self) -> int:
        return 1 << (self.family.bits - self.subnet_length)


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """Which backend, and its options as they are written. What an option means is the backend's to know."""

    type: str
    """In lower case."""
    options: Mapping[str, JSON] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def document(self) -> dict[str, JSON]:
        """As the configuration writes it."""
        return {"Type": self.type, **self.options}

    def fields(self) -> Fields:
        """The options, to be asked for by name; what is wrong with one is a `ConfigError`."""
        return Fields(self.options, WHERE, ConfigError, "Backend.")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a cluster agrees on. `pools` has one for each family in use, IPv4 first."""

    pools: tuple[Pool, ...]
    backend: BackendConfig = BackendConfig(DEFAULT_BACKEND)
    enable_nftables: bool = False
    fallbacks: tuple[BackendConfig, ...] = ()
    """Backends for pairs of nodes that cannot both use the first: ours, `"Fallbacks":[{"Type":"vxlan"}]`."""

    @classmethod
    def parse(cls, text: str | bytes, where: str = WHERE) -> NetworkConfig:
        """From net-conf.json; raises `ConfigError` naming the field, its value and what is allowed."""
        fields = parse_object(text, where, ConfigError)
        pools = tuple(
            _pool(fields, family)
            for family in Family
            if fields.boolean(f"Enable{family}", default=family is Family.IPV4)
        )
        if not pools:
            raise ConfigError("EnableIPv4 and EnableIPv6 are both false", where=where, remedy="enable one of them")
        fallbacks = tuple(_backend_of(options) for options in fields.objects("Fallbacks", MOST_FALLBACKS))
        return cls(pools, _backend(fields), fields.boolean("EnableNFTables", default=False), fallbacks)

    def pool(self, family: Family) -> Pool | None:
        """The pool of that family; None where the cluster does not use it."""
        return next((pool for pool in self.pools if pool.family is family), None)

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """The pod networks, IPv4 first."""
        return tuple(pool.network for pool in self.pools)

    def to_json(self) -> str:
        """As net-conf.json in flannel's spelling, compact, with everything derived written out."""
        document: dict[str, JSON] = {f"Enable{family}": self.pool(family) is not None for family in Family}
        document["EnableNFTables"] = self.enable_nftables
        for pool in self.pools:
            keys = _KEYS[pool.family]
            document[keys.network] = str(pool.network)
            document[keys.length] = pool.subnet_length
            document[keys.first] = str(pool.first.network_address)
            document[keys.last] = str(pool.last.network_address)
        document["Backend"] = self.backend.document()
        if self.fallbacks:
            document["Fallbacks"] = [backend.document() for backend in self.fallbacks]
        return compact(document)


class _Keys(NamedTuple):
    network: str
    length: str
    first: str
    last: str


class _Limits(NamedTuple):
    default: int
    """Prefix length of a subnet, where the network is large enough."""
    longest: int
    """Longest prefix that leaves a node addresses for pods."""


_KEYS = {
    Family.IPV4: _Keys("Network", "SubnetLen", "SubnetMin", "SubnetMax"),
    Family.IPV6: _Keys("IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax"),
}
_LIMITS = {Family.IPV4: _Limits(24, 30), Family.IPV6: _Limits(64, 126)}
_ROOM = 2
"""Bits between network and subnet at least: a network accommodates four subnets or more."""


def _pool(fields: Fields, family: Family) -> Pool:
    keys = _KEYS[family]
    network = _pod_network(fields, family)
    length = _subnet_length(fields, network)
    subnets = 1 << (length - network.prefixlen)
    step = 1 << (family.bits - length)
    first = _bound(fields, keys.first, network, length, _base(network) + step)  # the first subnet is always left out
    last = _bound(fields, keys.last, network, length, _base(network) + (subnets - 1) * step)
    if _base(first) > _base(last):
        raise fields.refusal(keys.first, f"it must not lie above {keys.last}, {last.network_address}")
    return Pool(network, length, first, last)


def _pod_network(fields: Fields, family: Family) -> IPNetwork:
    key = _KEYS[family].network
    example = "10.5.0.0/16" if family is Family.IPV4 else "fc00:5::/48"
    allowed = f"it must be an {family} network such as {example}, because Enable{family} is true"
    try:
        network = parse_network(fields.string(key), family)
    except InputError as error:
        raise fields.refusal(key, allowed) from error
    if network.prefixlen == 0:
        raise fields.refusal(key, allowed)
    return network


def _subnet_length(fields: Fields, network: IPNetwork) -> int:
    family = family_of(network)
    keys, limits = _KEYS[family], _LIMITS[family]
    shortest = network.prefixlen + _ROOM
    if shortest > limits.longest:
        longest = limits.longest - _ROOM
        raise fields.refusal(keys.network, f"it must be a /{longest} or larger, to hold four subnets")
    length = fields.integer(keys.length, 0, 0, limits.longest) or max(limits.default, shortest)
    if length < shortest:
        raise fields.refusal(keys.length, f"it must be from {shortest} to {limits.longest}, to hold four subnets")
    return length


def _bound(fields: Fields, key: str, network: IPNetwork, length: int, derived: int) -> IPNetwork:
    """The subnet that SubnetMin or SubnetMax names; the unspecified address is as good as none."""
    family = family_of(network)
    allowed = f"it must be the base address of a /{length} inside {network}"
    try:
        address: IPAddress | None = parse_address(text, family) if (text := fields.string(key)) else None
    except InputError as error:
        raise fields.refusal(key, allowed) from error
    base = int(address) if address is not None and int(address) else derived
    aligned = base % (1 << (family.bits - length)) == 0
    if not aligned or not 0 <= base - _base(network) < 1 << (family.bits - network.prefixlen):
        raise fields.refusal(key, allowed)
    return _network(family, base, length)


def _backend(fields: Fields) -> BackendConfig:
    options = fields.object("Backend")
    return BackendConfig(DEFAULT_BACKEND) if options is None else _backend_of(options)


def _backend_of(options: Fields) -> BackendConfig:
    name = options.string("Type").lower()
    if not name:
        raise options.refusal("Type", "it must name a backend, such as vxlan")
    return BackendConfig(name, MappingProxyType(options.besides("Type")))


def _base(network: IPNetwork) -> int:
    return int(network.network_address)


def _network(family: Family, base: int, length: int) -> IPNetwork:
    return IPv4Network((base, length)) if family is Family.IPV4 else IPv6Network((base, length))
