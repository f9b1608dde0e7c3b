"""The laws of leases in etcd, whoever writes when: nobody shares, whatever a node knew when it decided.

Nodes decide on what they read some time ago; the transaction then finds what is there now. Among them are a node of
flannel's, an administrator, and the end of leases.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import combinations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nankeen.model.address import IPNetwork
from nankeen.model.errors import LeaseError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import key
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import etcd_plan
from nankeen.registry.allocation import Taken
from nankeen.registry.choice import readable_key
from nankeen.registry.etcd_layout import KEPT, Contents, Layout
from nankeen.registry.etcd_transaction import Plan
from nankeen.registry.etcd_view import EtcdView, holder
from nankeen.registry.etcdrpc import rpc_pb2 as rpc
from tests.unit.registry.conftest import reach
from tests.unit.registry.paperetcd import PaperEtcd

LAYOUT = Layout("/net")
CONFIGS = [f'{{"Network":"10.5.0.0/24","SubnetLen":{length}}}' for length in (26, 27, 28)]
NUMBERS = st.integers(1, 3)
STALE = st.booleans()
"""Whether a node acts on what it read before its last act, and not just now."""
SUBNETS = st.sampled_from(
    [subnet for length in (26, 27, 28) for subnet in ip_network("10.5.0.0/24").subnets(new_prefix=length)]
)


class Leases(RuleBasedStateMachine):
    """Nodes `node1…` at 10.99.0.1…, and one of flannel's at 10.99.0.9."""

    def __init__(self) -> None:
        super().__init__()
        self.etcd = PaperEtcd()
        self.known: dict[int, Contents] = {}
        self.leases: dict[int, Lease] = {}
        self.etcd_leases = 0

    @initialize(config=st.sampled_from(CONFIGS))
    def make(self, config: str) -> None:
        self.configure(config)
        self.view = EtcdView(LAYOUT, lambda: 0.0)
        self.view.replace(self.etcd.contents(LAYOUT))

    @rule(config=st.sampled_from(CONFIGS))
    def configure(self, config: str) -> None:
        put = rpc.PutRequest(key=LAYOUT.config, value=config.encode())
        self.write(rpc.TxnRequest(success=[rpc.RequestOp(request_put=put)]))

    @rule(number=NUMBERS, stale=STALE, previous=st.lists(SUBNETS, max_size=1))
    def acquire(self, number: int, stale: bool, previous: list[IPNetwork]) -> None:  # noqa: FBT001
        wanted, contents = Lease(f"node{number}", "vxlan", ()), self.read(number, stale)
        try:
            plan = etcd_plan.acquisition(contents, wanted, [reach(f"10.99.0.{number}")], previous, "paper")
        except LeaseError:
            return
        if self.carry_out(number, plan) and plan.lease is not None:
            self.leases[number] = plan.lease

    @rule(number=NUMBERS, stale=STALE)
    def renew(self, number: int, stale: bool) -> None:  # noqa: FBT001
        if number in self.leases:
            try:
                plan = etcd_plan.renewal(self.read(number, stale), self.leases[number], "paper")
            except LeaseError:
                return
            self.carry_out(number, plan)

    @rule(number=NUMBERS, stale=STALE)
    def release(self, number: int, stale: bool) -> None:  # noqa: FBT001
        if number in self.leases:
            self.carry_out(number, etcd_plan.release(self.read(number, stale), self.leases[number]))

    @rule(number=NUMBERS, stale=STALE, subnets=st.lists(SUBNETS, max_size=1))
    def reserve(self, number: int, stale: bool, subnets: list[IPNetwork]) -> None:  # noqa: FBT001
        try:
            plan = etcd_plan.reservation(self.read(number, stale), f"node{number}", subnets, "paper")
        except LeaseError:
            return
        if self.carry_out(number, plan) and not stale:
            assert self.kept(f"node{number}") == set(subnets)

    @rule(public=st.sampled_from([1, 9]))
    def flannel(self, public: int) -> None:
        """A daemon of flannel's, on a node of ours or on another, takes the first subnet that it finds free."""
        pool = NetworkConfig.parse(self.etcd.pairs[LAYOUT.config].value).pools[0]
        held = self.etcd.contents(LAYOUT).subnets
        free = Taken(subnet for name in held for subnet in readable_key(name)).first_free(pool)
        value = f'{{"PublicIP":"10.99.0.{public}","PublicIPv6":null,"BackendType":"vxlan"}}'
        own = [name for name, item in held.items() if f'"10.99.0.{public}"' in item.value.decode()]
        if own or free is not None:
            name = own[0] if own else key([free])  # type: ignore[list-item]
            self.etcd_leases += 1
            put = rpc.PutRequest(key=LAYOUT.subnet(name), value=value.encode(), lease=self.etcd_leases)
            self.write(rpc.TxnRequest(success=[rpc.RequestOp(request_put=put)]))

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        leases = sorted({pair.lease for pair in self.etcd.pairs.values() if pair.lease})
        if leases:
            self.view.fold(self.etcd.expire(data.draw(st.sampled_from(leases))))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """An administrator who knows only flannel's keys."""
        if names := sorted(self.etcd.contents(LAYOUT).subnets):
            name = LAYOUT.subnet(data.draw(st.sampled_from(names)))
            gone = rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=name))
            self.write(rpc.TxnRequest(success=[gone]))

    def read(self, number: int, stale: bool) -> Contents:  # noqa: FBT001
        if not stale or number not in self.known:
            self.known[number] = self.etcd.contents(LAYOUT)
        return self.known[number]

    def carry_out(self, number: int, plan: Plan) -> bool:
        before = {key: pair.value.decode() for key, pair in self.etcd.pairs.items()}
        self.etcd_leases += 1
        is_done = self.write(plan.request(LAYOUT, self.etcd_leases, 7.0))
        if is_done:
            for name in (*(put.key for put in plan.puts), *plan.deletes):
                value = before.get(LAYOUT.subnet(name), "")
                others = f'"Node":"node{number}"' not in before.get(LAYOUT.note(name), "")
                assert not value or f'"10.99.0.{number}"' in value or (value == KEPT.decode() and not others)
        return is_done

    def write(self, request: rpc.TxnRequest) -> bool:
        events = self.etcd.transact(request)
        if events is not None and hasattr(self, "view"):
            self.view.fold(events)
        return events is not None

    def kept(self, node: str) -> set[IPNetwork]:
        contents = self.etcd.contents(LAYOUT)
        names = [name for name, item in contents.subnets.items() if item.lease == 0 and holder(contents, name) == node]
        return {subnet for name in names for subnet in readable_key(name)}

    @invariant()
    def subnets_that_overlap_are_one_nodes(self) -> None:
        contents = self.etcd.contents(LAYOUT)
        for one, other in combinations(contents.subnets, 2):
            if readable_key(one)[0].overlaps(readable_key(other)[0]):
                assert machine(holder(contents, one)) == machine(holder(contents, other))

    @invariant()
    def no_two_leases_overlap(self) -> None:
        leases = self.view.told().leases.values()
        assert not any(a.subnets[0].overlaps(b.subnets[0]) for a, b in combinations(leases, 2))

    @invariant()
    def a_follower_sees_what_a_read_finds(self) -> None:
        fresh = EtcdView(LAYOUT, lambda: 0.0)
        fresh.replace(self.etcd.contents(LAYOUT))
        assert self.view.told().leases == fresh.told().leases


def machine(name: str | None) -> str | None:
    """The node of that name, also where that is the address by which flannel is known there."""
    return name and name.replace("10.99.0.", "node")


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
