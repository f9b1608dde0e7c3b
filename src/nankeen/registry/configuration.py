"""Another network configuration: what it would do to those who have leases, and how it is set with that in view.

A lease is stranded by a configuration that has no place for its subnet: its node gets another one, and pods that run
there keep addresses that nobody reaches any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from nankeen.backend import open_backend
from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.errors import ConfigError, RegistryConflict, RegistryError
from nankeen.model.gojson import parse_object
from nankeen.model.netconf import WHERE, BackendConfig, NetworkConfig
from nankeen.registry import Registry, Snapshot

ATTEMPTS = 20
"""How often a configuration is compared anew, where nodes keep joining meanwhile."""

_MEMBERS = (
    *("EnableIPv4", "EnableIPv6", "EnableNFTables", "Network", "SubnetLen", "SubnetMin", "SubnetMax"),
    *("IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", "Backend", "Fallbacks"),
)
_IN_PLACE = {"vxlan": ("Port", "GBP", "Learning"), "wireguard": ("Mode",)}
"""Options that change a device in place: it cannot stand twice beside itself."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """A subnet that has no place in a configuration."""

    node: str
    subnet: IPNetwork
    why: str

    def __str__(self) -> str:
        return f"{self.subnet} of {self.node}: {self.why}"


@dataclass(frozen=True, slots=True)
class Effects:
    """What a configuration would do to those who are there."""

    stranded: tuple[Stranded, ...] = ()
    """Leases."""
    notes: tuple[str, ...] = ()
    """What else somebody should know who sets it."""


def check(text: str, where: str = WHERE) -> NetworkConfig:
    """The configuration, options of its backends included; raises `ConfigError`."""
    config = NetworkConfig.parse(text, where)
    for item in (config.backend, *config.fallbacks):
        open_backend(item)
    return config


def unknown_members(text: str) -> tuple[str, ...]:
    """The members of a configuration that mean nothing. Like flannel we pass over them, but each may be a slip."""
    found = parse_object(text, WHERE, ConfigError).besides(*_MEMBERS)
    return tuple(_unknown(name) for name in found)


def misfit(config: NetworkConfig, subnet: IPNetwork) -> str:
    """Why no node can lease exactly this subnet; "" where one can."""
    family = family_of(subnet)
    pool = config.pool(family)
    if pool is None:
        return f"{family} is not enabled"
    if pool.admits(subnet):
        return ""
    if subnet.prefixlen < pool.network.prefixlen or not _lies_in(subnet, pool.network):
        return f"it lies outside the network {pool.network}"
    if subnet.prefixlen != pool.subnet_length:
        return f"its length is {subnet.prefixlen}, and that of subnets is {pool.subnet_length}"
    if int(subnet.network_address) < int(pool.first.network_address):
        return f"it lies below the first subnet, {pool.first}"
    return f"it lies above the last subnet, {pool.last}"


def effects(config: NetworkConfig, snapshot: Snapshot) -> Effects:
    """What this configuration would do to those who are in the registry.

    A lease that has no place today either is not stranded by it: somebody wrote that by hand, or has not moved yet.
    """
    leased = {node: lease.subnets for node, lease in snapshot.leases.items()}
    return Effects(
        tuple(lost for lost in _stranded(config, leased) if not misfit(snapshot.config, lost.subnet)),
        (*_moves(snapshot.config, config), *_families(snapshot.config, config), *_lost(config, snapshot, leased)),
    )


async def foresee(registry: Registry, text: str) -> Effects:
    """What `change` would do without force. Raises `ConfigError` and `RegistryError`."""
    config, snapshot = check(text), await _present(registry, force=False)
    return effects(config, snapshot) if snapshot else Effects()


async def change(registry: Registry, text: str, *, force: bool = False) -> Effects:
    """Sets the configuration, unless it would strand a lease and `force` does not say that this may be.

    What it did, or would have done: nothing was written where it strands somebody without force. Raises `ConfigError`,
    `RegistryConflict` where others never stop to write, and `RegistryError`.
    """
    config = check(text)
    for _ in range(ATTEMPTS):
        snapshot = await _present(registry, force=force)
        found = effects(config, snapshot) if snapshot else Effects()
        if found.stranded and not force:
            return found
        try:
            await registry.configure(text, snapshot.revision if snapshot else 0)
        except RegistryConflict:
            continue
        return found
    raise RegistryConflict(
        f"the registry changed {ATTEMPTS} times while the configuration was compared with it", remedy="try again"
    )


async def _present(registry: Registry, *, force: bool) -> Snapshot | None:
    """The registry as it is; None where it has no configuration. Raises `RegistryError` where it has a wrong one."""
    try:
        return await registry.snapshot()
    except ConfigError as error:
        if not force and await _is_written(registry):
            raise RegistryError(
                f"its present configuration is wrong, so nobody can tell whom another would strand: {error}",
                remedy="put it right with --force",
            ) from error
        return None


async def _is_written(registry: Registry) -> bool:
    try:
        await registry.configuration()
    except ConfigError:
        return False
    return True


def _stranded(config: NetworkConfig, held: Mapping[str, Sequence[IPNetwork]]) -> Iterator[Stranded]:
    for node in sorted(held):
        for subnet in held[node]:
            if why := misfit(config, subnet):
                yield Stranded(node, subnet, why)


def _lost(config: NetworkConfig, snapshot: Snapshot, leased: Mapping[str, Sequence[IPNetwork]]) -> Iterator[str]:
    """Reservations that nobody could make use of; those that are leased are stranded."""
    for lost in _stranded(config, snapshot.reservations):
        if lost.subnet not in leased.get(lost.node, ()):
            yield f"the reservation of {lost.subnet} for {lost.node} can no longer be leased: {lost.why}"


def _families(before: NetworkConfig, after: NetworkConfig) -> Iterator[str]:
    for family in Family:
        if after.pool(family) and not before.pool(family):
            yield f"{family} is added: a node without an {family} address on its underlay stays as it is"


def _moves(before: NetworkConfig, after: NetworkConfig) -> Iterator[str]:
    """What becomes of packets while agents go over to another backend."""
    if before.backend == after.backend:
        if before.fallbacks != after.fallbacks:
            yield f"fallbacks change from {_names(before.fallbacks)} to {_names(after.fallbacks)}: agents follow live"
        return
    one, other = before.backend.type, after.backend.type
    what = f"the backend changes from {one} to {other}" if one != other else f"options of {one} change"
    moment = _moment(before.backend, after.backend)
    if moment:
        yield f"{what}: agents follow live, but packets are lost for a moment: {moment}"
    else:
        yield f"{what}: agents follow live, each with both ways until nobody needs the former one; no packet is lost"


def _moment(before: BackendConfig, after: BackendConfig) -> str:
    """Why packets are lost for a moment; "" where none are."""
    if "extension" in (before.type, after.type):
        return "commands of extension run after the old route is gone"
    if before.type != after.type:
        return ""
    one, other = before.fields(), after.fields()
    options = [name for name in _IN_PLACE.get(after.type, ()) if one.raw(name) != other.raw(name)]
    return f"{' and '.join(options)} cannot differ on two devices of one name" if options else ""


def _lies_in(subnet: IPNetwork, network: IPNetwork) -> bool:
    shift = network.max_prefixlen - network.prefixlen
    return int(subnet.network_address) >> shift == int(network.network_address) >> shift


def _names(backends: Sequence[BackendConfig]) -> str:
    return ", ".join(backend.type for backend in backends) or "none"


def _unknown(name: str) -> str:
    near = get_close_matches(name.casefold(), [member.casefold() for member in _MEMBERS], 1)
    meant = next((member for member in _MEMBERS if near and member.casefold() == near[0]), "")
    return f"{name[:60]!r} means nothing and is passed over" + (f"; {meant} is meant?" if meant else "")
