"""The laws of the whole loop, over a kernel on paper: leases, desired state, difference, changes.

Whatever happened, in whatever order, a node that has come to rest holds what its leases ask for, nothing else of ours,
and all that is somebody else's as it was.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nankeen.agent import reconcile
from nankeen.agent.join import Membership, Running, left_behind, offer, ran, routes
from nankeen.agent.lastknown import Remembered
from nankeen.agent.reconcile import Cause, Reconciler
from nankeen.backend import open_backend
from nankeen.model.address import HardwareAddress
from nankeen.model.diff import NOTHING, Claim, diff
from nankeen.model.errors import ConfigError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import decode, encode
from nankeen.model.netconf import BackendConfig, NetworkConfig
from nankeen.model.state import (
    PROTOCOL_KERNEL,
    PROTOCOL_NANKEEN,
    Address,
    Bridge,
    Device,
    ForwardingEntry,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
    Vxlan,
)
from nankeen.model.wireguard import WireguardDevice, WireguardPeer
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy
from nankeen.registry import Snapshot
from tests.unit.agent.cluster import BACKENDS, CASES, MODES, UNDERLAY, config, fabric, lease, prepared, subnet
from tests.unit.agent.paper_kernel import PaperKernel
from tests.unit.agent.test_hostile import read, rows

FOREIGN: list[Object] = [
    Link("docker0", Bridge(), 1500, HardwareAddress.parse("02:42:00:00:00:01"), master="", txqlen=0),
    Address("docker0", ip_interface("172.17.0.1/16")),
    Route(ip_network("172.17.0.0/16"), "docker0", protocol=PROTOCOL_KERNEL),
    Link("flannel.99", Vxlan(99, "eth0", None), 1450, HardwareAddress.parse("02:42:00:00:00:02"), master="", txqlen=0),
    Neighbour("flannel.99", ip_address("10.244.2.0"), HardwareAddress.parse("02:42:00:00:00:03")),
    ForwardingEntry("flannel.99", HardwareAddress.parse("02:42:00:00:00:03"), ip_address("192.168.0.2")),
    Route(ip_network("10.244.200.0/24"), "flannel.99", ip_address("10.244.200.0"), onlink=True),
    Route(ip_network("10.244.201.0/24"), "eth0", ip_address("192.168.0.77")),
    Route(ip_network("10.9.0.0/16"), "eth0", ip_address("192.168.0.77"), protocol=PROTOCOL_NANKEEN),
    Route(ip_network("10.244.2.0/24"), "docker0", ip_address("172.17.0.2"), table=100),
    Neighbour("eth0", ip_address("192.168.0.2"), HardwareAddress.parse("02:00:00:01:00:02")),
    XfrmPolicy(
        Direction.OUT, ip_network("10.244.1.0/24"), ip_network("10.9.0.0/24"),
        EspTunnel(ip_address("192.168.0.1"), ip_address("192.168.0.2")),
    ),
    XfrmPolicy(
        Direction.OUT, ip_network("10.244.1.0/24"), ip_network("10.244.250.0/24"),
        EspTunnel(ip_address("192.168.0.1"), ip_address("192.168.0.2"), reqid=7),
    ),
]  # fmt: skip
"""What only looks like ours."""

ON_LINK = [item for item in UNDERLAY if isinstance(item, Route) and item.gateway is None]
STAYING = (Sysctl, WireguardDevice)
"""What is left as it is, or goes with its device alone."""

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of long representations
names = st.sampled_from(list(BACKENDS))
modes = st.sampled_from(list(MODES))


@st.composite
def peers(draw: st.DrawFn, name: str, mode: str) -> list[Lease]:
    numbers = draw(st.sets(st.integers(2, 6)))
    return [
        lease(number, [name], mode, version=draw(st.integers(0, 2)), off_link=draw(st.booleans()))
        for number in sorted(numbers)
    ]


@pytest.fixture(autouse=True)
def _paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "apply", PaperKernel.apply)
    monkeypatch.setattr(reconcile, "observe", PaperKernel.observe)


@pytest.mark.parametrize("name, mode", CASES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_law_the_difference_leads_from_any_leases_to_any_others(name: str, mode: str, data: st.DataObject) -> None:
    before, after = fabric(name, mode), fabric(name, mode)
    before.update(data.draw(peers(name, mode)))
    after.update(data.draw(peers(name, mode)))
    kernel = PaperKernel([*UNDERLAY, *FOREIGN])
    assert kernel.apply(diff(before.state, kernel.observe(policies=True), before.claim)) == []
    assert kernel.apply(diff(after.state, kernel.observe(paths(after.state), policies=True), before.claim)) == []
    alone = PaperKernel([*UNDERLAY, *FOREIGN])
    alone.apply(diff(after.state, alone.observe(policies=True), after.claim))
    assert State(kernel.objects.values()) == State(alone.objects.values())
    assert diff(after.state, kernel.observe(paths(after.state), policies=True), after.claim) == ()


def paths(state: State) -> list[str]:
    return [setting.path for setting in state.of(Sysctl)]


class Agent:
    """What the agent does from its start on, without its waiting, its registry and its files."""

    def __init__(self, kernel: PaperKernel, name: str, mode: str, leases: list[Lease], disk: Remembered | None) -> None:
        self.kernel = kernel
        self.reconciler = Reconciler(kernel)  # type: ignore[arg-type]  # a kernel on paper
        self.claim: Claim = NOTHING
        self.leases: list[Lease] = []
        self.disk = disk
        self.membership: Membership | None = None
        self.join(name, mode, leases, ran(disk))

    def join(self, name: str, mode: str, leases: list[Lease], running: tuple[Running, ...]) -> None:
        self.config = name, mode
        wanted, before = config(name, mode), self.membership
        found = prepared(wanted, self.kernel.observe(), running)
        standing = before.fabric.precedence if before else self.disk.standing if self.disk else ()
        found = replace(found, standing=standing)
        if before is not None and wanted.networks == before.config.networks:
            built = found.fabric(before.lease.subnets)
            built.update(before.fabric.leases)
            self.claim |= built.claim
            self.reconciler.build(built.state, built.claim)
        own = replace(lease(1, [name], mode), node="node1")
        self.membership = found.with_lease(own)
        self.claim |= self.membership.fabric.claim
        self.claim |= left_behind(self.disk, found)
        self.membership.fabric.update(leases)
        self.leases = leases
        self.inspect("start")

    @property
    def running(self) -> tuple[Running, ...]:
        """The backends that the node goes on with when it joins again."""
        assert self.membership is not None
        outgoing = self.membership.outgoing
        return tuple(run for run in self.membership.running if run.backend not in outgoing)

    def take(self, leases: list[Lease]) -> None:
        assert self.membership is not None
        before, after = self.membership.fabric.update(leases)
        self.reconciler.step(before, after, self.claim)
        self.leases = leases
        self.remember()

    def inspect(self, cause: Cause) -> None:
        assert self.membership is not None
        fabric = self.membership.fabric
        observed = self.kernel.observe(paths(fabric.state), policies=self.claim.policies)
        fabric.move(routes(observed, fabric.devices))
        self.reconciler.converge(fabric.state, observed, self.claim, cause)
        self.remember()

    def remember(self) -> None:
        assert self.membership is not None
        snapshot = Snapshot(self.membership.config, {one.node: one for one in self.leases}, 1)
        backends = tuple(run.config for run in self.membership.running)
        self.disk = Remembered(snapshot, backends, self.membership.fabric.precedence)


def started(name: str, mode: str, leases: list[Lease]) -> Agent:
    return Agent(PaperKernel([*UNDERLAY, *FOREIGN]), name, mode, leases, None)


def left(agent: Agent, kind: type[Object]) -> list[str]:
    """What the agent made of that kind, and is there still."""
    standing = [agent.kernel.objects[identity] for identity in agent.kernel.made]
    return sorted(str(item) for item in standing if isinstance(item, kind))


@pytest.mark.parametrize("restarts", [False, True])
def test_policies_go_with_a_backend_that_cannot_carry_the_families_of_today(*, restarts: bool) -> None:
    agent = started("ipsec", "ipv4", [lease(2, ["ipsec"], "ipv4")])
    agent.take([lease(2, ["ipsec"], "ipv4"), lease(3, ["ipsec"], "ipv4")])
    assert len(left(agent, XfrmPolicy)) == 6
    if restarts:
        agent = Agent(agent.kernel, "vxlan", "dual", agent.leases, agent.disk)
    else:
        agent.join("vxlan", "dual", agent.leases, agent.running)
    assert left(agent, XfrmPolicy) == []


def test_what_an_earlier_configuration_left_is_removed_by_the_agent_that_starts_with_another() -> None:
    agent = started("wireguard", "dual", [lease(2, ["wireguard"], "dual")])
    assert len(left(agent, WireguardPeer)) == 2
    agent = Agent(agent.kernel, "wireguard-auto", "ipv4", [], agent.disk)
    assert [line.split(":")[0] for line in left(agent, Link)] == ["cni0", "flannel-wg"]
    assert left(agent, Address) == ["inet 10.244.1.0/32 dev flannel-wg", "inet 10.244.1.1/24 dev cni0"]


def test_routes_by_a_former_underlay_are_removed_also_when_the_agent_was_down_meanwhile() -> None:
    agent = started("host-gw", "ipv4", [lease(2, ["host-gw"], "ipv4"), lease(3, ["host-gw"], "ipv4")])
    assert len(left(agent, Route)) == 2
    for route in [route for route in UNDERLAY if isinstance(route, Route)]:
        agent.kernel.remove(route.identity)
        agent.kernel.put(replace(route, device="eth1", gateway=route.gateway and ip_address("192.168.1.254")))
    agent.kernel.put(Link("eth1", Device(""), 1500, master="", txqlen=1000, carrier=True))
    agent.kernel.put(Address("eth1", ip_interface("192.168.1.1/24")))
    agent = Agent(agent.kernel, "host-gw", "ipv4", [lease(2, ["host-gw"], "ipv4", off_link=True)], agent.disk)
    assert left(agent, Route) == ["10.244.2.0/24 via 192.168.1.2 dev eth1 proto 110"]


def test_backends_that_need_the_same_cannot_be_named_together() -> None:
    twice = config("wireguard-auto", "ipv4", ["wireguard"])
    prepared(twice, State(UNDERLAY))  # the same device with the same settings is one
    one, other = '{"Type":"vxlan"}', '{"Type":"vxlan","Port":4789}'
    different = NetworkConfig.parse(f'{{"Network":"10.244.0.0/16","Backend":{one},"Fallbacks":[{other}]}}')
    with pytest.raises(ConfigError, match=r"of two backends, flannel\.1: vxlan id 1 .* cannot stand side by side"):
        prepared(different, State(UNDERLAY))


def test_a_secret_that_changes_is_replaced_in_place() -> None:
    agent = started("ipsec", "ipv4", [lease(2, ["ipsec"], "ipv4")])
    changed = NetworkConfig.parse(
        f'{{"Network":"10.244.0.0/16","Backend":{{"Type":"ipsec","PSK":"{"another" * 20}"}}}}'
    )
    assert len(prepared(changed, agent.kernel.observe(), agent.running).running) == 1


def test_no_more_backends_are_kept_than_a_lease_can_tell_of() -> None:
    former = tuple(
        Running(options := BackendConfig("vxlan", {"VNI": vni}), open_backend(options)) for vni in range(100, 120)
    )
    found = prepared(config("host-gw", "ipv4"), State(UNDERLAY), former)
    offers = [offer(run.backend, found.node) for run in found.running[1:]]
    value = encode(replace(lease(2, ["host-gw"], "ipv4"), offers=tuple(offers)))
    assert len(offers) == 8
    assert decode(value, (subnet(2, 4),), "node2", None).offers == tuple(offers)


class Loop(RuleBasedStateMachine):
    """One node's life. A seed chooses where a choice depends on what stands."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = PaperKernel([*UNDERLAY, *FOREIGN])
        self.leases: dict[str, Lease] = {}
        self.agent = Agent(self.kernel, "vxlan", "dual", [], None)

    @property
    def membership(self) -> Membership:
        assert self.agent.membership is not None
        return self.agent.membership

    @rule(number=st.integers(2, 6), ways=st.lists(names, min_size=1, max_size=3), mode=modes, version=st.integers(0, 2))
    def a_node_joins_or_changes(self, number: int, ways: list[str], mode: str, version: int) -> None:
        made = lease(number, ways, mode, version=version, off_link=number == 6)
        self.leases[made.node] = made

    @rule(number=st.integers(2, 6), mode=modes, version=st.integers(0, 2), name=names)
    def a_node_follows_the_configuration(self, number: int, mode: str, version: int, name: str) -> None:
        current = next(known for known in BACKENDS if config(known, mode).backend == self.membership.config.backend)
        self.a_node_joins_or_changes(number, [current, name], mode, version)

    @rule(number=st.integers(2, 6))
    def a_node_leaves(self, number: int) -> None:
        self.leases.pop(f"node{number}", None)

    @rule(drawn=st.lists(rows, max_size=4))
    def somebody_writes_leases(self, drawn: list[tuple[str, str, str | bytes]]) -> None:
        self.leases |= read(drawn)[0]

    @rule()
    def the_agent_hears_of_it(self) -> None:
        self.agent.take(list(self.leases.values()))

    @rule(change=st.sampled_from(CASES))
    def the_configuration_changes(self, change: tuple[str, str]) -> None:
        self.agent.join(*change, list(self.leases.values()), self.agent.running)

    @rule(change=st.none() | st.sampled_from(CASES))
    def the_agent_is_killed_and_starts_again(self, change: tuple[str, str] | None) -> None:
        self.come_to_rest()  # what was refused, and where, is not remembered
        if change is None:
            change = self.agent.config
        self.agent = Agent(self.kernel, *change, list(self.leases.values()), self.agent.disk)

    @rule(chance=st.randoms(use_true_random=False))
    def somebody_breaks_what_is_ours(self, chance: Random) -> None:
        standing = sorted(self.kernel.made, key=repr)
        for identity in chance.sample(standing, min(len(standing), chance.randint(1, 3))):
            item = self.kernel.objects.get(identity)
            if item is not None and (altered := chance.choice([None, spoiled(item)])) is not None:
                self.kernel.put(altered)
            elif not isinstance(item, Sysctl | WireguardDevice):
                self.kernel.remove(identity)

    @rule(chance=st.randoms(use_true_random=False))
    def somebody_puts_something_on_our_devices(self, chance: Random) -> None:
        for device in sorted(self.agent.claim.devices):
            if (Link, device) in self.kernel.objects:
                item = chance.choice(intruders(device))
                if item.identity not in self.kernel.objects:
                    self.kernel.put(item)

    @rule(there=st.booleans())
    def the_underlay_loses_or_regains_its_network(self, there: bool) -> None:  # noqa: FBT001  (drawn)
        for route in ON_LINK:
            if there:
                self.kernel.put(route)
            else:
                self.kernel.remove(route.identity)

    @rule(chance=st.randoms(use_true_random=False))
    def the_kernel_refuses_some_changes(self, chance: Random) -> None:
        self.kernel.refuses = lambda _: chance.random() < 0.3

    @rule()
    def the_agent_looks(self) -> None:
        self.agent.inspect("audit")

    @rule()
    def the_node_comes_to_rest(self) -> None:
        self.come_to_rest()
        self.check_rest()

    def come_to_rest(self) -> None:
        self.kernel.refuses = lambda _: False
        self.agent.take(list(self.leases.values()))
        self.agent.inspect("audit")
        while self.membership.outgoing:
            self.agent.join(*self.agent.config, list(self.leases.values()), self.agent.running)

    def check_rest(self) -> None:
        desired, claim = self.membership.fabric.state, self.agent.claim
        found = self.kernel.observe(paths(desired), policies=True)
        assert self.agent.reconciler.refused == ()
        assert diff(desired, found, claim) == ()
        left = [self.kernel.objects[one] for one in self.kernel.made if one in self.kernel.objects]
        besides = [item for item in left if type(item) not in STAYING and desired.get(item.identity) is None]
        assert not besides, f"left behind: {[*map(str, besides)]}"
        before = self.kernel.applied
        self.agent.inspect("audit")
        assert self.kernel.applied == before

    @invariant()
    def what_is_foreign_is_as_it_was(self) -> None:
        for item in (*UNDERLAY, *FOREIGN):
            assert item in ON_LINK or self.kernel.objects.get(item.identity) == item, f"{item} was touched"

    def teardown(self) -> None:
        self.the_node_comes_to_rest()


def spoiled(item: Object) -> Object | None:
    """The object as somebody may have altered it."""
    match item:
        case Link():
            return replace(item, up=not item.up, mtu=1280)
        case Route():
            return replace(item, gateway=None, onlink=False)
        case Neighbour():
            return replace(item, address=HardwareAddress.parse("02:dd:00:00:00:01"))
        case ForwardingEntry():
            return replace(item, destination=ip_address("192.168.0.200"))
        case Sysctl():
            return replace(item, value="7")
        case WireguardDevice():
            return replace(item, listen_port=1)
        case WireguardPeer():
            return replace(item, endpoint=None, keepalive=9)
        case XfrmPolicy():
            return replace(item, priority=3)
    return None


def intruders(device: str) -> list[Object]:
    """What hangs on a device of ours, and is nobody's wish."""
    return [
        Route(ip_network("10.244.99.0/24"), device, ip_address("10.244.99.0"), onlink=True),
        Address(device, ip_interface("10.244.99.1/32")),
        Neighbour(device, ip_address("10.244.99.0"), HardwareAddress.parse("02:dd:00:00:00:01")),
        ForwardingEntry(device, HardwareAddress.parse("02:dd:00:00:00:01"), ip_address("192.168.0.200")),
    ]


TestLoop = Loop.TestCase
TestLoop.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
