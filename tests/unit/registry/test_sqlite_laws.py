"""The laws of leases, whatever nodes do and however time passes: nobody shares, and nobody's own is taken away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nankeen.model.address import IPNetwork
from nankeen.model.errors import LeaseError
from nankeen.model.lease import Lease
from nankeen.model.netconf import NetworkConfig, Pool
from nankeen.registry.sqlite import SqliteRegistry, create
from nankeen.registry.sqlite_reader import SqliteReader
from tests.unit.registry.conftest import Clock, reach

CONFIGS = [f'{{"Network":"10.5.0.0/24","SubnetLen":{length}}}' for length in (26, 27, 28)]
NODES = st.sampled_from([f"node{number}" for number in range(1, 10)])
SUBNETS = st.sampled_from(
    [subnet for length in (26, 27, 28) for subnet in ip_network("10.5.0.0/24").subnets(new_prefix=length)]
)
LEASE_SECONDS = 100

Result = TypeVar("Result")


class Leases(RuleBasedStateMachine):
    """Nodes come, renew, leave and fall silent; beside them a plain account of who must hold what."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.held: dict[str, Lease] = {}
        self.reserved: dict[str, IPNetwork] = {}

    @initialize(config=st.sampled_from(CONFIGS))
    def make(self, config: str) -> None:
        path = Path(self.directory.name, "registry.db")
        create(path, config)
        self.config = NetworkConfig.parse(config)
        self.registry = SqliteRegistry(path, lease_seconds=LEASE_SECONDS, clock=self.clock)
        self.follower = SqliteReader(self.clock)

    def run(self, question: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(question)

    @property
    def pool(self) -> Pool:
        return self.config.pools[0]

    def live(self) -> dict[str, Lease]:
        return {
            node: lease for node, lease in self.held.items() if lease.expires is None or lease.expires > self.clock.now
        }

    def others(self, node: str) -> list[IPNetwork]:
        """What nobody may give to this node."""
        leased = [lease.subnets[0] for other, lease in self.live().items() if other != node]
        return leased + [subnet for other, subnet in self.reserved.items() if other != node]

    @rule(node=NODES, previous=st.lists(SUBNETS, max_size=2))
    def acquire(self, node: str, previous: list[IPNetwork]) -> None:
        others = self.others(node)
        own = self.live().get(node)
        try:
            lease = self.run(self.registry.acquire(node, "vxlan", [reach("10.99.0.1")], previous))
        except LeaseError:
            assert all(any(subnet.overlaps(other) for other in others) for subnet in self.pool)
            return
        (subnet,) = lease.subnets
        assert self.pool.admits(subnet)
        assert not any(subnet.overlaps(other) for other in others)
        if own and self.pool.admits(own.subnets[0]):
            assert lease.subnets == own.subnets
        self.held = {**self.live(), node: lease}

    @rule(node=NODES)
    def renew(self, node: str) -> None:
        if (lease := self.held.get(node)) is None:
            return
        try:
            self.held[node] = self.run(self.registry.renew(lease))
        except LeaseError:
            assert node not in self.live()
            del self.held[node]

    @rule(node=NODES)
    def release(self, node: str) -> None:
        if lease := self.held.pop(node, None):
            self.run(self.registry.release(lease))

    @rule(node=NODES, subnet=SUBNETS)
    def reserve(self, node: str, subnet: IPNetwork) -> None:
        taken = any(subnet.overlaps(other) for other in self.others(node))
        try:
            self.run(self.registry.reserve(node, [subnet]))
        except LeaseError:
            assert taken
            return
        assert not taken
        self.reserved[node] = subnet
        self.look()

    @rule(node=NODES)
    def end_reservation(self, node: str) -> None:
        self.run(self.registry.reserve(node, []))
        self.reserved.pop(node, None)
        self.look()

    @rule(config=st.sampled_from(CONFIGS))
    def configure(self, config: str) -> None:
        self.run(self.registry.set_config(config))
        self.config = NetworkConfig.parse(config)

    @rule(seconds=st.sampled_from([1, 30, 99, 100]))
    def pass_time(self, seconds: int) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.held)
    @rule()
    def reopen(self) -> None:
        self.registry.close()

    def look(self) -> None:
        """A reservation changes when the node's own lease expires."""
        self.held = dict(self.run(self.registry.snapshot()).leases)

    @invariant()
    def what_is_held_is_what_the_account_says(self) -> None:
        assert dict(self.run(self.registry.snapshot()).leases) == self.live()

    @invariant()
    def a_follower_sees_the_same_nodes_on_the_same_subnets(self) -> None:
        followed = self.run(self.registry._file.read(self.follower.read)).leases
        assert {node: lease.endpoints for node, lease in followed.items()} == {
            node: lease.endpoints for node, lease in self.live().items()
        }

    @invariant()
    def no_two_live_leases_overlap(self) -> None:
        leases = self.run(self.registry.snapshot()).leases.values()
        assert not any(a.subnets[0].overlaps(b.subnets[0]) for a, b in combinations(leases, 2))

    def teardown(self) -> None:
        self.registry.close()
        self.runner.close()
        self.directory.cleanup()


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
