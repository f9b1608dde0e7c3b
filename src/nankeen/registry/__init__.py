"""Registries: where the cluster agrees which node holds which subnet.

One small protocol, one file for each implementation.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Protocol

from nankeen.model.address import IPNetwork
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease, Offer, Reach
from nankeen.model.netconf import NetworkConfig
from nankeen.registry.etcd_settings import EtcdSettings


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole registry at one revision: what is not in it is gone."""

    config: NetworkConfig
    leases: Mapping[str, Lease]
    """By node name. A lease that did not change since the snapshot before is the same object."""
    revision: int
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Entries that are no lease, by key, with the reason. They hold up nobody else."""
    reservations: Mapping[str, tuple[IPNetwork, ...]] = field(default_factory=dict)
    """What is kept for which node, whether it leases that or not. A watch leaves it out: no packet depends on it."""


class Registry(Protocol):
    """The contract. Every method raises `RegistryError` when the registry cannot be used."""

    async def config(self) -> NetworkConfig:
        """The network configuration; raises `ConfigError` where it is missing or wrong."""

    async def configuration(self) -> str:
        """The network configuration as it is written, right or wrong; raises `ConfigError` where it is missing."""

    async def configure(self, text: str, basis: int) -> None:
        """Writes the network configuration, where it and the leases are as they were at revision `basis` of a snapshot,
        but for times of expiry; 0 stands for a configuration that is missing or wrong: of that there is no snapshot.

        Raises `ConfigError` where the text is none, and `RegistryConflict`, having written nothing, where something has
        changed. A lease that does not fit it stays until its node asks anew.
        """

    async def acquire(
        self,
        node: str,
        backend: str,
        reaches: Sequence[Reach],
        previous: Sequence[IPNetwork] = (),
        offers: Sequence[Offer] = (),
    ) -> Lease:
        """The node's lease: its own again where it has one that fits the configuration (with `backend`, `reaches` and
        `offers` brought up to date), else the `previous` subnets where they are free, else free ones. One subnet for
        each family of the configuration. Raises `LeaseError` when the pool is used up.
        """

    async def renew(self, lease: Lease) -> Lease:
        """The lease with a new expiry. Raises `LeaseError` when it was lost: expired and taken, or released."""

    async def release(self, lease: Lease) -> None:
        """Gives the lease back; releasing one that is gone is no error."""

    async def reserve(self, node: str, subnets: Sequence[IPNetwork]) -> None:
        """Keeps these subnets for that node, without expiry; none at all end its reservation.

        Raises `LeaseError` where another holds one of them.
        """

    async def snapshot(self) -> Snapshot:
        """The registry as it is now."""

    def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The registry as it is now, and again after each change. Several changes may come as one."""

    def close(self) -> None:
        """Gives up what the registry holds open."""


_MODULES = {"sqlite": "nankeen.registry.sqlite", "etcd": "nankeen.registry.etcd"}


def open_registry(address: str | EtcdSettings) -> Registry:
    """The registry at an address: `sqlite:///var/lib/nankeen/registry.db`, `etcd://10.0.0.1:2379/coreos.com/network`.
    What an address of etcd says may come as settings, too.

    Raises `InputError` and `RegistryError`.

    A module of the table has `open_at(rest) -> Registry`, where `rest` is what follows `scheme://`.
    """
    module, rest = _find(address if isinstance(address, str) else "etcd://")
    registry: Registry = module.open_at(rest) if isinstance(address, str) else module.open_etcd(address)
    return registry


def make_registry(address: str, config: str) -> bool:
    """Makes the registry at an address, with that configuration, where none is there yet; whether it did.

    Only an embedded registry has to be made: its module has `make_at(rest, config) -> bool`. Raises `ConfigError`,
    `InputError` and `RegistryError`.
    """
    module, rest = _find(address)
    return hasattr(module, "make_at") and bool(module.make_at(rest, config))


def _find(address: str) -> tuple[ModuleType, str]:
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in _MODULES:
        known = ", ".join(f"{name}://" for name in _MODULES)
        raise InputError(f"{address!r} is not the address of a registry", remedy=f"it begins with one of: {known}")
    try:
        return import_module(_MODULES[scheme]), rest
    except ModuleNotFoundError as error:
        problem, remedy = f"{scheme}:// needs the Python module {error.name}", f"pip install 'nankeen[{scheme}]'"
        raise InputError(problem, where="registry", remedy=remedy) from error
