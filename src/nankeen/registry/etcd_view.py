"""Snapshots of an etcd registry, folded together of what it tells. What did not change stays the same object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from nankeen.model.address import IPNetwork
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.lease import LEASE_SECONDS, Lease
from nankeen.model.leasevalue import decode, parse_key
from nankeen.model.netconf import NetworkConfig
from nankeen.model.printable import printable
from nankeen.registry import Snapshot
from nankeen.registry.choice import readable_key, words
from nankeen.registry.etcd_layout import KEPT, Contents, Item, Layout
from nankeen.registry.etcdrpc import rpc_pb2 as rpc

Reading = Lease | str | None
"""What stands at a subnet's key: a lease, why it is none, or nothing but a reservation."""


@dataclass(slots=True)
class EtcdView:
    """Follows one registry.

    A renewal is silent: the lease stays the object it was, with the expiry it had, because nothing of the network
    depends on when a lease would expire as long as it does not.
    """

    layout: Layout
    clock: Callable[[], float]
    contents: Contents = field(init=False)
    changed: bool = True
    """Whether anybody would notice a difference to the snapshot that was told last."""
    _readings: dict[str, Reading] = field(default_factory=dict)
    _config_item: Item | None = None
    _config: NetworkConfig | None = None
    _config_fault: ConfigError | None = None

    def __post_init__(self) -> None:
        self.contents = Contents(self.layout)

    def replace(self, contents: Contents) -> None:
        """Takes contents that were read anew, all of them."""
        before, self.contents = self.contents, contents
        oldest_first = sorted(contents.subnets, key=lambda key: contents.subnets[key].created)
        self._update([*(before.subnets.keys() - contents.subnets.keys()), *oldest_first])
        self._readings = {key: self._readings[key] for key in oldest_first}
        self._update_config()

    def fold(self, response: rpc.WatchResponse) -> None:
        """Takes what a watch tells."""
        touched: dict[str, None] = {}
        for event in response.events:
            item = Item.of(event.kv) if event.type == rpc.Event.PUT else None
            if (key := self.contents.set(event.kv.key, item)) is not None:
                touched[key] = None
            self.contents.revision = event.kv.mod_revision
        self._update(touched)
        self._update_config()

    def told(self) -> Snapshot:
        """The registry as it is known now; the next change is news again.

        Raises `ConfigError` where it never had a configuration that could be read. Where a good one is followed by a
        bad one, the good one stays and the bad one is among the rejected.
        """
        self.changed = False
        if self._config is None:
            raise self._config_fault or ConfigError("the registry has no network configuration")
        leases: dict[str, Lease] = {}
        rejected: dict[str, str] = {}
        for key, reading in self._readings.items():
            if isinstance(reading, str):
                rejected[printable(key)] = reading
            elif reading is not None and reading.node in leases:
                rejected[key] = f"{reading.node} leases {words(leases[reading.node].subnets)} already"
            elif reading is not None:
                leases[reading.node] = reading
        if self._config_fault:
            rejected["config"] = str(self._config_fault)
        return Snapshot(self._config, leases, self.contents.revision, rejected)

    def reservations(self) -> dict[str, tuple[IPNetwork, ...]]:
        """What is kept for whom."""
        found: dict[str, dict[IPNetwork, None]] = {}
        for key, item in self.contents.subnets.items():
            if item.lease == 0 and (node := holder(self.contents, key)) is not None:
                found.setdefault(node, {}).update(dict.fromkeys(readable_key(key)))
        return {node: tuple(sorted(subnets, key=lambda subnet: subnet.version)) for node, subnets in found.items()}

    def _update(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key not in self.contents.subnets:
                self.changed |= self._readings.pop(key, None) is not None
                continue
            reading, before = read(self.contents, key, self.clock() + LEASE_SECONDS), self._readings.get(key)
            if key not in self._readings or not _is_same(before, reading):
                self._readings[key] = reading
                self.changed |= not (before is None and reading is None)

    def _update_config(self) -> None:
        if self._config is not None and self.contents.config == self._config_item:
            return
        self._config_item, self.changed = self.contents.config, True
        try:
            self._config, self._config_fault = parse_config(self._config_item), None
        except ConfigError as error:
            self._config_fault = error


def read(contents: Contents, key: str, latest: float) -> Reading:
    """What stands at that key. `latest` is the expiry of a lease of which etcd alone knows it: flannel's."""
    item, note = contents.subnets[key], contents.note(key)
    if note is not None and item.lease == 0 and item.value == KEPT:
        return None
    expires = None if item.lease == 0 else latest if note is None or note.expires is None else note.expires
    try:
        lease = decode(item.value, parse_key(key), key if note is None else note.node, expires)
    except InputError as error:
        return str(error)
    if note is not None:
        return lease
    if item.lease == 0 and not lease.backend:
        return None
    return replace(lease, node=str(lease.endpoints[0].reach.address))


def holder(contents: Contents, key: str) -> str | None:
    """Who holds a subnet, by leasing it or by a reservation; None where what stands there is neither."""
    note = contents.note(key) if readable_key(key) else None
    if note is not None:
        return note.node
    try:
        lease = decode(contents.subnets[key].value, parse_key(key), key, None)
    except InputError:
        return None
    return str(lease.endpoints[0].reach.address)


def parse_config(item: Item | None) -> NetworkConfig:
    """The configuration at its key; raises `ConfigError`."""
    return NetworkConfig.parse(config_text(item))


def config_text(item: Item | None) -> str:
    """The configuration as it is written; raises `ConfigError` where there is none."""
    if item is None:
        raise ConfigError("the registry has no network configuration", remedy="set it by `nankeen config set FILE`")
    return item.value.decode(errors="replace")


def _is_same(before: Reading, reading: Reading) -> bool:
    """Whether nobody would notice the difference."""
    if isinstance(before, Lease) and isinstance(reading, Lease):
        return replace(before, expires=reading.expires) == reading and (before.expires is None) == (
            reading.expires is None
        )
    return before == reading
