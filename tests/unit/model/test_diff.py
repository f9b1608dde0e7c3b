"""The difference between two states; its laws are checked against a small model of what a kernel does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.address import HardwareAddress
from nankeen.model.diff import NOTHING, Change, Claim, Verb, diff
from nankeen.model.state import (
    PROTOCOL_BOOT,
    PROTOCOL_KERNEL,
    PROTOCOL_NANKEEN,
    Address,
    Bridge,
    Device,
    ForwardingEntry,
    Identity,
    Link,
    LinkKind,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
    Vxlan,
)

MACS = [HardwareAddress(bytes([2, 0, 0, 0, 0, last])) for last in range(3)]
PODS = ip_network("10.5.0.0/16")
OURS = Claim(frozenset({"flannel.1"}), frozenset({PODS}), frozenset({"eth0"}))

VTEP = Link("flannel.1", Vxlan(1, "eth0", ip_address("10.99.0.1")), mtu=1450, address=MACS[0], master="", txqlen=0)
ETH0 = Link("eth0", Device(""), mtu=1500, address=MACS[1], master="", txqlen=1000)


def path(number: int, mac: HardwareAddress = MACS[1], device: str = "flannel.1") -> list[Object]:
    base = ip_address(f"10.5.{number}.0")
    return [
        ForwardingEntry(device, mac, ip_address(f"10.99.0.{number}")),
        Neighbour(device, base, mac),
        Route(ip_network(f"{base}/24"), device, base, onlink=True),
    ]


def told(changes: Iterable[Change]) -> list[str]:
    return [str(change) for change in changes]


def test_a_peer_is_built_from_its_far_end_and_removed_from_its_near_end() -> None:
    alone, joined = State([VTEP]), State([VTEP, *path(2)])
    lines = [
        "02:00:00:00:00:01 dev flannel.1 dst 10.99.0.2 self permanent",
        "10.5.2.0 dev flannel.1 lladdr 02:00:00:00:00:01 PERMANENT",
        "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
    ]
    assert told(diff(joined, alone, OURS)) == [f"+ {line}" for line in lines]
    assert told(diff(alone, joined, OURS)) == [f"- {line}" for line in reversed(lines)]


def test_a_peer_that_moved_is_led_to_its_new_place_before_the_old_one_goes() -> None:
    assert told(diff(State([VTEP, *path(2, MACS[2])]), State([VTEP, *path(2, MACS[1])]), OURS)) == [
        "+ 02:00:00:00:00:02 dev flannel.1 dst 10.99.0.2 self permanent",
        (
            "~ 10.5.2.0 dev flannel.1 lladdr 02:00:00:00:00:02 PERMANENT"
            "  (was: 10.5.2.0 dev flannel.1 lladdr 02:00:00:00:00:01 PERMANENT)"
        ),
        "- 02:00:00:00:00:01 dev flannel.1 dst 10.99.0.2 self permanent",
    ]


def test_a_device_of_another_kind_is_recreated_with_all_that_hangs_on_it() -> None:
    other = replace(VTEP, kind=Vxlan(2, "eth0", ip_address("10.99.0.1")))
    changes = diff(State([VTEP, *path(2)]), State([other, *path(2)]), OURS)
    assert changes[0].recreates
    assert [change.verb for change in changes] == [Verb.REPLACE, Verb.ADD, Verb.ADD, Verb.ADD]


def test_a_new_hardware_address_brings_the_neighbours_back() -> None:
    changes = diff(State([VTEP, *path(2)]), State([replace(VTEP, address=MACS[2]), *path(2)]), OURS)
    assert told(changes[1:]) == ["+ 10.5.2.0 dev flannel.1 lladdr 02:00:00:00:00:01 PERMANENT"]


def test_the_ports_of_a_recreated_bridge_are_put_back() -> None:
    bridge, port = Link("cni0", Bridge()), replace(ETH0, master="cni0")
    changes = diff(State([port, bridge]), State([Link("cni0", Device("dummy")), port]))
    assert told(changes)[1].startswith("~ eth0: mtu 1500 master cni0")


def test_a_bridge_is_made_before_its_ports() -> None:
    port, bridge = replace(ETH0, master="cni0"), Link("cni0", Bridge())
    assert [change.object for change in diff(State([port, bridge]), State())] == [bridge, port]


def test_removing_a_device_is_one_change() -> None:
    assert told(diff(State(), State([VTEP, *path(2)]), OURS)) == [f"- {VTEP}"]


def test_a_route_that_changes_device_is_replaced_before_the_old_device_goes() -> None:
    direct = Route(ip_network("10.5.2.0/24"), "eth0", ip_address("10.99.0.2"), protocol=PROTOCOL_NANKEEN)
    changes = diff(State([ETH0, direct]), State([ETH0, VTEP, *path(2)]), OURS)
    assert [change.verb for change in changes] == [Verb.REPLACE, Verb.REMOVE]
    assert changes[0].object == direct


def by_underlay(destination: str, protocol: int, device: str = "eth0") -> Route:
    return Route(ip_network(destination), device, ip_address("10.99.0.2"), protocol=protocol)


def test_a_route_by_the_underlay_is_ours_by_its_protocol_and_only_into_the_pod_network() -> None:
    to_pods = by_underlay("10.5.2.0/24", PROTOCOL_NANKEEN)
    foreign: list[Object] = [
        by_underlay("10.6.0.0/16", PROTOCOL_NANKEEN),
        by_underlay("10.5.3.0/24", PROTOCOL_NANKEEN, device="eth1"),
        by_underlay("10.5.4.0/24", PROTOCOL_BOOT),  # an administrator's, or flannel's
        by_underlay("10.5.5.0/24", 4),  # RTPROT_STATIC
        Address("eth0", ip_interface("10.5.0.1/24")),
    ]
    assert told(diff(State(), State([ETH0, to_pods, *foreign]), OURS)) == [f"- {to_pods}"]


def test_what_flannel_left_in_the_place_of_a_desired_route_is_taken_over() -> None:
    ours, theirs = by_underlay("10.5.2.0/24", PROTOCOL_NANKEEN), by_underlay("10.5.2.0/24", PROTOCOL_BOOT)
    assert told(diff(State([ours]), State([ETH0, theirs]), OURS)) == [f"~ {ours}  (was: {theirs})"]


def test_a_route_that_came_with_an_address_goes_with_it() -> None:
    came_along = Route(ip_network("10.5.1.0/24"), "flannel.1", protocol=PROTOCOL_KERNEL)
    address = Address("flannel.1", ip_interface("10.5.1.0/24"))
    assert told(diff(State([VTEP]), State([VTEP, address, came_along]), OURS)) == [f"- {address}"]


def test_without_a_claim_nothing_is_removed() -> None:
    assert diff(State(), State([ETH0, VTEP, *path(2)]), NOTHING) == ()


def test_claims_add_up() -> None:
    more = Claim(frozenset({"flannel-v6.1"}), frozenset({ip_network("fc00:5::/48")}), frozenset({"eth1"}))
    assert OURS | NOTHING == OURS
    assert OURS | more == Claim(
        OURS.devices | more.devices, OURS.networks | more.networks, OURS.underlays | more.underlays
    )


class Kernel:
    """What a kernel makes of changes: objects by identity, and what hangs on a link goes with it."""

    def __init__(self, state: State) -> None:
        self.objects: dict[Identity, Object] = dict(state.items())

    def apply(self, change: Change) -> None:
        item = change.object
        standing = self.objects.get(item.identity)
        assert (standing is None) == (change.verb is Verb.ADD), f"{change}, but there stands {standing}"
        assert item.device is None or (Link, item.device) in self.objects, f"{change}, but it has no device"
        if change.verb is Verb.REMOVE or change.recreates:
            self._drop(item)
            standing = None
        if change.verb is Verb.REMOVE:
            return
        if isinstance(item, Link):
            assert not item.master or (Link, item.master) in self.objects, f"{change}, but it has no bridge"
            item = self._settled(item, standing if isinstance(standing, Link) else None)
        self.objects[item.identity] = item

    def _drop(self, item: Object) -> None:
        del self.objects[item.identity]
        if isinstance(item, Link):
            self.objects = {
                identity: replace(other, master="") if isinstance(other, Link) and other.master == item.name else other
                for identity, other in self.objects.items()
                if other.device != item.name
            }

    def _settled(self, wanted: Link, standing: Link | None) -> Link:
        """The link with what its maker left open chosen by the kernel."""
        if standing and wanted.address not in (None, standing.address):
            self.objects = {
                identity: other
                for identity, other in self.objects.items()
                if not (isinstance(other, Neighbour) and other.device == wanted.name)
            }
        before = standing or Link(wanted.name, wanted.kind, 1500, MACS[0], master="", txqlen=1000)
        return replace(
            wanted,
            mtu=before.mtu if wanted.mtu is None else wanted.mtu,
            address=wanted.address or before.address,
            master=before.master if wanted.master is None else wanted.master,
            txqlen=before.txqlen if wanted.txqlen is None else wanted.txqlen,
        )

    @property
    def state(self) -> State:
        return State(self.objects.values())


KINDS: list[LinkKind] = [Vxlan(1, "eth0", None), Vxlan(2, "eth0", None), Device("dummy")]
macs = st.sampled_from(MACS)
hosts = st.integers(0, 3).map(lambda number: IPv4Address(0x0A050000 + number * 256))


@st.composite
def links(draw: st.DrawFn, *, observed: bool) -> list[Link]:
    """Some of `a`, `b` (which may be ports) and the bridge `br`; and `eth0`, where it is observed."""
    names = draw(st.sets(st.sampled_from(["a", "b", "br"])))
    masters = ["", *(["br"] if "br" in names else [])] + ([] if observed else [None])
    found = [
        Link(
            name,
            draw(st.sampled_from([Bridge(), *KINDS[2:]] if name == "br" else KINDS)),
            mtu=draw(st.sampled_from([1450, 1500] if observed else [1450, None])),
            address=draw(macs if observed else st.none() | macs),
            up=draw(st.booleans()),
            master="" if name == "br" else draw(st.sampled_from(masters)),
            txqlen=draw(st.sampled_from([0, 1000] if observed else [0, None])),
        )
        for name in draw(st.permutations(sorted(names)))
    ]
    return [*found, ETH0] if observed else found


@st.composite
def states(draw: st.DrawFn, *, observed: bool) -> State:
    """Links, and objects that hang on them or on `eth0`."""
    standing = draw(links(observed=observed))
    devices = st.sampled_from([*(link.name for link in standing), "eth0"])
    items = draw(
        st.lists(
            st.one_of(
                st.builds(Address, devices, hosts.map(lambda host: ip_interface(f"{host}/32"))),
                st.builds(Neighbour, devices, hosts, macs),
                st.builds(ForwardingEntry, devices, macs, hosts),
                st.builds(
                    lambda host, device, onlink, protocol: Route(
                        ip_network(f"{host}/24"), device, host, onlink, protocol=protocol
                    ),
                    hosts,
                    devices,
                    st.booleans(),
                    st.sampled_from([PROTOCOL_BOOT, PROTOCOL_NANKEEN] + [PROTOCOL_KERNEL] * observed),
                ),
                st.builds(
                    lambda device, value: Sysctl(f"net/ipv6/conf/{device}/accept_ra", value),
                    devices,
                    st.sampled_from(["0", "1"]),
                ),
            ),
            max_size=14,
        )
    )
    unique = {item.identity: item for item in [*items, *standing]}
    return State(unique.values())


claims = st.builds(
    Claim,
    st.frozensets(st.sampled_from(["a", "b", "br"])),
    st.frozensets(st.sampled_from([PODS, ip_network("10.5.1.0/24")])),
    st.frozensets(st.just("eth0")),
)


def applied(changes: Iterable[Change], observed: State) -> State:
    kernel = Kernel(observed)
    for change in changes:
        kernel.apply(change)
    return kernel.state


@given(states(observed=False), states(observed=True), claims)
def test_law_applying_the_difference_satisfies_what_is_desired(desired: State, observed: State, claim: Claim) -> None:
    result = applied(diff(desired, observed, claim), observed)
    for identity, wanted in desired.items():
        found = result.get(identity)
        assert found is not None, f"{wanted} is missing"
        assert wanted.satisfied_by(found), f"{wanted} is wanted, and {found} stands"  # type: ignore[arg-type]


@given(states(observed=False), states(observed=True), claims)
def test_law_after_the_difference_is_applied_there_is_none(desired: State, observed: State, claim: Claim) -> None:
    result = applied(diff(desired, observed, claim), observed)
    assert told(diff(desired, result, claim)) == []


@given(states(observed=False), states(observed=True), claims)
def test_law_what_no_claim_covers_stays_unless_its_device_goes(desired: State, observed: State, claim: Claim) -> None:
    changes = diff(desired, observed, claim)
    result = applied(changes, observed)
    shaken = {
        change.object.name
        for change in changes
        if isinstance(change.object, Link) and (change.verb is Verb.REMOVE or change.recreates or change.readdresses)
    }
    for identity, found in observed.items():
        if not claim.covers(found) and desired.get(identity) is None and found.device not in shaken:
            assert result.get(identity) is not None, f"{found} was somebody else's"
    assert all(claim.covers(change.object) for change in changes if change.verb is Verb.REMOVE)


@given(states(observed=False), states(observed=True), claims)
def test_law_no_change_in_between_leaves_half_of_a_path(desired: State, observed: State, claim: Claim) -> None:
    """What a route leads to is built before the route, and removed after it."""
    changes = diff(desired, observed, claim)
    order = {Route: 2, Neighbour: 1, ForwardingEntry: 0}
    built = [order[type(c.object)] for c in changes if type(c.object) in order and c.verb is not Verb.REMOVE]
    removed = [order[type(c.object)] for c in changes if type(c.object) in order and c.verb is Verb.REMOVE]
    assert built == sorted(built)
    assert removed == sorted(removed, reverse=True)
    verbs = [change.verb is Verb.REMOVE for change in changes]
    assert verbs == sorted(verbs), "something is removed before all is built"


@given(states(observed=True))
def test_law_a_state_differs_in_nothing_from_itself(state: State) -> None:
    assert diff(state, state, Claim(frozenset({"a", "b", "br", "eth0"}), frozenset({PODS}))) == ()
