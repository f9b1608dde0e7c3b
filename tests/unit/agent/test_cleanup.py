"""What is removed of a node that nankeen or flannel has left, and what is not: decided from values alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.agent.cleanup import Cleanup, Found, cleanup
from nankeen.agent.traces import Traces
from nankeen.kernel.iptables import Engine, parse
from nankeen.kernel.ruleset import IptablesTable, NftTable
from nankeen.model.address import Family, HardwareAddress, IPNetwork
from nankeen.model.state import (
    PROTOCOL_NANKEEN,
    Address,
    Bridge,
    Device,
    ForwardingEntry,
    Ipip,
    Link,
    LinkKind,
    Neighbour,
    Object,
    Route,
    State,
    Tun,
    Veth,
    Vxlan,
)
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy

NETWORK = ip_network("10.244.0.0/16")
PODS = Traces(networks=(NETWORK,))
MAC = HardwareAddress.parse("02:00:00:00:00:02")
VXLAN = Vxlan(1, "eth0", ip_address("192.168.0.11"))
ETH0 = Link("eth0", Device(""))
NAT = IptablesTable(Engine.NFT, Family.IPV4, "nat")
FILTER = IptablesTable(Engine.LEGACY, Family.IPV4, "filter")


def decide(*objects: Object, traces: Traces = PODS) -> Cleanup:
    return cleanup(Found(State([ETH0, *objects]), traces=traces))


def names(plan: Cleanup) -> list[str]:
    """The names of the devices that are removed, in order."""
    return [change.object.name for change in plan.changes if isinstance(change.object, Link)]


def notes(plan: Cleanup) -> dict[str, str]:
    return {note.what.partition(":")[0]: note.why for note in plan.notes}


@pytest.mark.parametrize(
    "name, kind",
    [
        ("flannel.1", VXLAN),
        ("flannel.4096", VXLAN),
        ("flannel-v6.1", VXLAN),
        ("flannel.ipip", Ipip(None)),
        ("flannel-wg", Device("wireguard")),
        ("flannel-wg-v6", Device("wireguard")),
        ("flannel0", Tun()),
        ("flannel0", Tun(persistent=False, multi_queue=False)),
        ("cni0", Bridge()),
        ("bwp0123456789ab", Device("ifb")),
    ],
)
def test_a_device_of_theirs_goes_by_its_name_and_kind(name: str, kind: LinkKind) -> None:
    assert names(decide(Link(name, kind))) == [name]


@pytest.mark.parametrize(
    "name, kind",
    [
        ("flannel.7", Bridge()),
        ("flannel.ipip", VXLAN),
        ("flannel-wg", Device("dummy")),
        ("cni0", Device("dummy")),
        ("bwp0123456789ab", Veth()),
    ],
)
def test_a_device_of_another_kind_stays_whatever_its_name_and_is_told_of(name: str, kind: LinkKind) -> None:
    plan = decide(Link(name, kind))
    assert plan.groups == {}
    assert notes(plan)[name].startswith("stays: it is no ")


@pytest.mark.parametrize(
    "name, kind",
    [
        ("vxlan.calico", VXLAN),
        ("flannel.one", VXLAN),
        ("myflannel.1", VXLAN),
        ("flannel.1x", VXLAN),
        ("cni01", Bridge()),
        ("cni-podman0", Bridge()),
        ("docker0", Bridge()),
        ("tunl0", Ipip(None)),
        ("wg0", Device("wireguard")),
        ("bwp-uplink", Device("ifb")),
        ("veth12345678", Veth()),
    ],
)
def test_a_device_of_others_stays_without_a_word(name: str, kind: LinkKind) -> None:
    plan = decide(Link(name, kind))
    assert (plan.groups, plan.notes) == ({}, ())


def test_the_ports_of_the_bridge_go_before_it_and_those_of_other_bridges_stay() -> None:
    plan = decide(
        Link("cni0", Bridge()),
        Link("veth0", Veth(), master="cni0"),
        Link("docker0", Bridge()),
        Link("veth1", Veth(), master="docker0"),
        Link("eth1", Device(""), master="cni0"),
    )
    assert names(plan) == ["veth0", "cni0"]
    assert notes(plan) == {"eth1": "stays, no port of cni0 any more: it is no veth"}


def test_pods_that_would_lose_their_network_are_those_whose_end_is_up() -> None:
    plan = decide(
        Link("cni0", Bridge()),
        Link("veth0", Veth(), master="cni0", carrier=True),
        Link("veth1", Veth(), master="cni0", carrier=False),
        Link("veth2", Veth(), carrier=True),
    )
    assert plan.pods == ("veth0",)


@pytest.mark.parametrize(
    "address, networks, goes",
    [
        ("10.244.1.1/24", (NETWORK,), True),
        ("10.88.0.1/16", (NETWORK,), False),
        ("10.88.0.1/16", (), True),
        ("fe80::1/64", (NETWORK,), True),
    ],
    ids=["ours", "another plugin's", "nobody knows", "it has no other"],
)
def test_a_bridge_of_the_same_name_stays_where_it_is_the_gateway_of_something_else(
    address: str, networks: tuple[IPNetwork, ...], *, goes: bool
) -> None:
    bridge, port = Link("cni0", Bridge()), Link("veth0", Veth(), master="cni0")
    plan = decide(bridge, port, Address("cni0", ip_interface(address)), traces=Traces(networks=networks))
    assert names(plan) == (["veth0", "cni0"] if goes else [])
    assert notes(plan) == ({} if goes else {"cni0": "stays: it is not the gateway of the pod network"})


def test_an_ifb_device_for_a_pod_of_another_network_stays() -> None:
    ours, theirs = Link("bwp000000000001", Device("ifb")), Link("bwp000000000002", Device("ifb"))
    assert names(decide(ours, theirs, traces=replace(PODS, foreign_ifbs=frozenset({theirs.name})))) == [ours.name]


def test_what_hangs_on_a_device_goes_with_it_and_is_counted() -> None:
    gateway = ip_address("10.244.2.0")
    plan = decide(
        Link("flannel.1", VXLAN),
        Address("flannel.1", ip_interface("10.244.1.0/32")),
        Route(ip_network("10.244.2.0/24"), "flannel.1", gateway, onlink=True),
        Route(ip_network("10.244.3.0/24"), "flannel.1", ip_address("10.244.3.0"), onlink=True),
        Neighbour("flannel.1", gateway, MAC),
        ForwardingEntry("flannel.1", MAC, ip_address("192.168.0.12")),
    )
    assert [str(change.object).split()[0] for change in plan.changes] == ["flannel.1:"]
    assert notes(plan) == {"flannel.1": "goes with 2 routes, 1 neighbour, 1 forwarding entry"}


def test_an_administrators_route_through_a_device_of_theirs_is_told_of_before_it_is_lost() -> None:
    route = Route(ip_network("172.16.0.0/12"), "flannel.1", ip_address("10.244.2.0"), onlink=True)
    plan = decide(Link("flannel.1", VXLAN), route)
    assert notes(plan)[str(route)] == "goes with flannel.1, and does not lead into the pod network"


def test_routes_with_our_number_go_whatever_they_lead_to_and_all_others_stay() -> None:
    ours = Route(ip_network("10.9.2.0/24"), "eth0", ip_address("192.168.0.12"), protocol=PROTOCOL_NANKEEN)
    theirs = Route(ip_network("172.16.0.0/12"), "eth0", ip_address("192.168.0.1"))
    plan = decide(ours, theirs)
    assert plan.groups == {"routes": (str(ours),)}
    assert plan.notes == ()


def test_a_route_that_may_be_of_flannels_host_gw_is_told_of_and_stays() -> None:
    route = Route(ip_network("10.244.2.0/24"), "eth0", ip_address("192.168.0.12"))
    plan = decide(route)
    assert plan.groups == {}
    assert notes(plan) == {str(route): "stays: it may be of flannel's host-gw, or an administrator's"}


def policy(source: str, destination: str, reqid: int = 11) -> XfrmPolicy:
    tunnel = EspTunnel(ip_address("192.168.0.11"), ip_address("192.168.0.12"), reqid)
    return XfrmPolicy(Direction.OUT, ip_network(source), ip_network(destination), tunnel)


def test_policies_go_that_have_flannels_number_and_are_inside_the_pod_network() -> None:
    ours = policy("10.244.1.0/24", "10.244.2.0/24")
    plan = decide(ours, policy("10.244.1.0/24", "10.244.3.0/24", 7), policy("172.16.1.0/24", "172.16.2.0/24", 7))
    assert plan.groups == {"IPsec policies": (str(ours),)}
    assert plan.notes == ()


@pytest.mark.parametrize("traces", [PODS, Traces()], ids=["outside", "nobody knows"])
def test_a_policy_that_nothing_tells_to_be_flannels_stays_and_is_told_of(traces: Traces) -> None:
    unclear = policy("172.16.1.0/24", "172.16.2.0/24")
    plan = decide(unclear, traces=traces)
    assert plan.groups == {}
    assert [note.what for note in plan.notes] == [str(unclear)]


def test_tables_of_nftables_go_by_family_and_name_and_those_of_all_pods_are_told_of() -> None:
    tables = [("inet", "nankeen"), ("ip", "flannel-ipv4"), ("ip6", "flannel-ipv6"), ("inet", "flannel-ipv4"),
              ("ip", "nankeen"), ("ip", "nat"), ("ip", "cni_hostport"), ("bridge", "nankeen-pods"),
              ("inet", "nankeen-pods"), ("bridge", "nankeen"), ("inet", "nankeen-ports")]  # fmt: skip
    plan = cleanup(Found(tables=tuple(NftTable(*table) for table in tables)))
    assert plan.groups["packet filter"] == (
        "table inet nankeen",
        "table ip flannel-ipv4",
        "table ip6 flannel-ipv6",
        "table bridge nankeen-pods",
        "table inet nankeen-pods",
        "table inet nankeen-ports",
    )
    assert [note.what for note in plan.notes] == ["table ip cni_hostport"]


MIXED_NAT = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
:KUBE-POSTROUTING - [0:0]
:CNI-0123456789abcdef01234567 - [0:0]
:CNI-fedcba9876543210fedcba98 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-0123456789abcdef01234 - [0:0]
:CNI-DN-fedcba9876543210fedcb - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -j KUBE-POSTROUTING
-A POSTROUTING -s 10.244.1.2/32 -m comment --comment "name: \\"cbr0\\" id: \\"a\\"" -j CNI-0123456789abcdef01234567
-A POSTROUTING -s 10.9.1.2/32 -m comment --comment "name: \\"other\\" id: \\"b\\"" -j CNI-fedcba9876543210fedcba98
-A POSTROUTING -s 10.9.1.3/32 -m comment --comment "name: \\"cbr0\\" id: \\"c\\"" -j MASQUERADE
-A FLANNEL-POSTRTG -m comment --comment "flanneld masq" -j RETURN
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"cbr0\\" id: \\"a\\"" -j CNI-DN-0123456789abcdef01234
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"other\\" id: \\"b\\"" -j CNI-DN-fedcba9876543210fedcb
-A CNI-DN-0123456789abcdef01234 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.2:80
COMMIT
"""


def test_chains_of_flannel_and_of_pods_on_its_network_go_and_all_others_stay() -> None:
    plan = cleanup(Found(iptables={NAT: parse(MIXED_NAT)["nat"]}))
    (removal,) = plan.rules
    assert [command for command in removal.commands if not command.startswith("-D")] == [
        "-F FLANNEL-POSTRTG",
        "-X FLANNEL-POSTRTG",
        "-F CNI-0123456789abcdef01234567",
        "-F CNI-DN-0123456789abcdef01234",
        "-X CNI-0123456789abcdef01234567",
        "-X CNI-DN-0123456789abcdef01234",
    ]
    removed = MIXED_NAT.splitlines()
    assert [f"-A {command.removeprefix('-D ')}" for command in removal.commands if command.startswith("-D")] == [
        removed[11], removed[13], removed[17],
    ]  # fmt: skip
    assert plan.groups["packet filter"] == (
        "iptables-nft -t nat -N CNI-0123456789abcdef01234567",
        "iptables-nft -t nat -N CNI-DN-0123456789abcdef01234",
        "iptables-nft -t nat -N FLANNEL-POSTRTG",
        *(f"iptables-nft -t nat {removed[place]}" for place in (11, 13, 16, 17, 19)),
    )
    assert notes(plan) == {"iptables-nft -t nat CNI-HOSTPORT-DNAT": "stays: the pods of every CNI network use it"}


def test_our_own_chain_goes_with_the_jump_to_it() -> None:
    text = """*filter
:FORWARD DROP [0:0]
:NANKEEN-FWD - [0:0]
-A FORWARD -m comment --comment "nankeen forward" -j NANKEEN-FWD
-A FORWARD -i eth7 -j ACCEPT
-A NANKEEN-FWD -s 10.244.0.0/16 -m comment --comment "nankeen forward" -j ACCEPT
COMMIT
"""
    (removal,) = cleanup(Found(iptables={FILTER: parse(text)["filter"]})).rules
    assert removal.commands == (
        '-D FORWARD -m comment --comment "nankeen forward" -j NANKEEN-FWD',
        "-F NANKEEN-FWD",
        "-X NANKEEN-FWD",
    )


def test_files_are_kept_when_that_is_wanted_and_the_rest_goes_all_the_same() -> None:
    path = Path("/run/flannel")
    found = Found(State([Link("flannel.1", VXLAN)]), traces=Traces(invitations=(path,), files=(path,)))
    assert set(cleanup(found).groups) == {"devices", "files"}
    assert set(cleanup(found, keep_files=True).groups) == {"devices"}


def test_the_data_path_is_ended_and_shown_before_the_devices() -> None:
    plan = cleanup(Found(State([Link("flannel0", Tun())]), data_path=77))
    assert next(iter(plan.groups.items())) == ("processes", ("data path of the udp backend, process 77",))
    assert list(plan.groups) == ["processes", "devices"]


def test_of_nothing_nothing_is_removed() -> None:
    assert cleanup(Found()) == Cleanup()


_THEIRS = st.sampled_from(
    ["flannel.1", "flannel-v6.1", "flannel.ipip", "flannel-wg", "flannel0", "cni0", "bwp" + "0" * 12]
)
_DEVICES = _THEIRS | st.sampled_from(["eth1", "docker0", "vxlan0", "veth0", "veth1"])
_KINDS = st.sampled_from([VXLAN, Ipip(None), Bridge(), Veth(), Device("wireguard"), Tun(), Device("ifb")])
_LINKS = st.builds(Link, _DEVICES, _KINDS, master=st.sampled_from(["", "cni0", "docker0"]), carrier=st.booleans())
_NETWORKS = st.sampled_from([ip_network(text) for text in ("10.244.2.0/24", "10.9.0.0/24", "fd44:0:0:2::/64", "::/0")])
_ROUTES = st.builds(Route, _NETWORKS, _DEVICES, protocol=st.sampled_from([2, 3, 4, PROTOCOL_NANKEEN]))
_STATES = st.lists(_LINKS | _ROUTES, max_size=12, unique_by=lambda item: item.identity).map(State)


@given(_STATES)
def test_after_a_clean_up_there_is_nothing_to_clean_up(state: State) -> None:
    """The law: it is a diff to the empty state."""
    plan = cleanup(Found(state, traces=PODS))
    removed = {change.object.identity for change in plan.changes}
    gone = set(names(plan))
    left = State(item for item in state if item.identity not in removed and item.device not in gone)
    assert cleanup(Found(left, traces=PODS)).groups == {}


@given(_STATES)
def test_nothing_is_removed_that_has_neither_a_name_of_theirs_nor_our_number(state: State) -> None:
    for change in cleanup(Found(state, traces=PODS)).changes:
        match change.object:
            case Link(name=name, kind=kind, master=master):
                assert name.startswith(("flannel", "cni0", "bwp")) or (kind == Veth() and master == "cni0")
            case Route(protocol=protocol):
                assert protocol == PROTOCOL_NANKEEN
            case item:
                raise AssertionError(item)
