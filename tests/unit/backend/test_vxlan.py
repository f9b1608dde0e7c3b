from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import Backend, open_backend
from nankeen.model.diff import diff
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import JSON
from nankeen.model.lease import Endpoint, Lease
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import Link, State, Vxlan
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, mac, node

DUAL = (str(IPV4), str(IPV6))


def vxlan(**options: JSON) -> Backend:
    return open_backend(BackendConfig("vxlan", options))


def lines(state: State) -> list[str]:
    return [str(item) for item in state]


def test_a_node_alone_has_a_vtep() -> None:
    assert lines(vxlan().state(node(), [])) == [
        "flannel.1: vxlan id 1 local 10.99.0.1 dev eth0 dstport 8472 nolearning mtu 1450 address 02:00:00:00:04:01 up",
        "net/ipv6/conf/flannel.1/accept_ra = 0",
        "inet 10.5.1.0/32 dev flannel.1",
    ]


def test_a_peer_takes_a_forwarding_entry_a_neighbour_and_a_route() -> None:
    assert lines(vxlan().state(node(), [lease(2)]))[3:] == [
        "02:00:00:00:04:02 dev flannel.1 dst 10.99.0.2 self permanent",
        "10.5.2.0 dev flannel.1 lladdr 02:00:00:00:04:02 PERMANENT",
        "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
    ]


def test_ipv6_has_a_vtep_of_its_own_with_its_true_overhead() -> None:
    assert lines(vxlan().state(node(str(IPV6)), [lease(2, endpoint6(2))])) == [
        "flannel-v6.1: vxlan id 1 local fd99::1 dev eth0 dstport 8472 nolearning mtu 1430 address 02:00:00:00:06:01 up",
        "net/ipv6/conf/flannel-v6.1/accept_ra = 0",
        "net/ipv6/conf/flannel-v6.1/accept_dad = 0",
        "inet6 fc00:5:0:1::/128 dev flannel-v6.1",
        "02:00:00:00:06:02 dev flannel-v6.1 dst fd99::2 self permanent",
        "fc00:5:0:2:: dev flannel-v6.1 lladdr 02:00:00:00:06:02 PERMANENT",
        "fc00:5:0:2::/64 via fc00:5:0:2:: dev flannel-v6.1 metric 1024 onlink",
    ]


def test_both_families_stand_side_by_side() -> None:
    peer = lease(2, endpoint(2), endpoint6(2))
    both = vxlan().state(node(*DUAL), [peer])
    one = vxlan().state(node(str(IPV4)), [lease(2, endpoint(2))])
    other = vxlan().state(node(str(IPV6)), [lease(2, endpoint6(2))])
    assert both == one | other
    assert vxlan().devices(node(*DUAL)) == {"flannel.1", "flannel-v6.1"}


def test_of_a_peer_only_the_families_of_the_cluster_are_used() -> None:
    assert vxlan().peer(node(), lease(2, endpoint(2), endpoint6(2))) == vxlan().peer(node(), lease(2, endpoint(2)))


def test_the_state_is_the_nodes_own_part_and_each_peers() -> None:
    peers = [lease(2), lease(3)]
    parts = [item for peer in peers for item in vxlan().peer(node(), peer)]
    assert vxlan().state(node(), peers) == State([*vxlan().state(node(), []), *parts])


def test_options_shape_the_device() -> None:
    options: Mapping[str, JSON] = {"vni": 7, "PORT": 4789, "GBP": True, "Learning": True, "MTU": 1400}
    here = replace(node(), hardware={"flannel.7": mac(1)})
    (link,) = vxlan(**options).state(here, []).of(Link)
    assert str(link) == (
        "flannel.7: vxlan id 7 local 10.99.0.1 dev eth0 dstport 4789 learning gbp mtu 1350 address 02:00:00:00:04:01 up"
    )
    assert link.txqlen == 0


def test_port_and_mtu_zero_are_the_defaults() -> None:
    assert vxlan(Port=0, MTU=0) == vxlan()


def test_packets_leave_from_the_underlays_own_address_also_behind_nat() -> None:
    behind_nat = node(public="192.0.2.1")
    (link,) = vxlan().state(behind_nat, []).of(Link)
    assert isinstance(link.kind, Vxlan)
    assert str(link.kind.local) == "10.99.0.1"
    (reach,) = vxlan().reaches(behind_nat)
    assert str(reach.address) == "192.0.2.1"


def test_a_node_announces_its_vtep_in_the_very_letters_of_flannel() -> None:
    ipv4, ipv6 = vxlan().reaches(node(*DUAL, own=False))
    assert (str(ipv4.address), ipv4.data) == ("10.99.0.1", '{"VNI":1,"VtepMAC":"02:00:00:00:04:01"}')
    assert (str(ipv6.address), ipv6.data) == ("fd99::1", '{"VNI":1,"VtepMAC":"02:00:00:00:06:01"}')


@pytest.mark.parametrize(
    "networks, option, expected",
    [((DUAL[0],), 0, 1450), ((DUAL[1],), 0, 1430), (DUAL, 0, 1430), (DUAL, 1400, 1330), ((DUAL[0],), 9000, 1450)],
)
def test_the_pods_mtu_fits_every_family_in_use(networks: tuple[str, ...], option: int, expected: int) -> None:
    assert vxlan(MTU=option).mtu(node(*networks)) == expected


def test_an_mtu_too_small_for_ipv6_is_refused() -> None:
    with pytest.raises(ConfigError, match="an outer MTU of 1349 leaves pods 1279 bytes, and IPv6 needs 1280"):
        vxlan().mtu(node(*DUAL, mtu=1349))
    assert vxlan().mtu(node(*DUAL, mtu=1350)) == 1280


@pytest.mark.parametrize(
    "option, value, told",
    [
        ("VNI", 1 << 24, "Backend.VNI is 16777216; it must be a whole number from 0 to 16777215"),
        ("VNI", 10_000_000, "Backend.VNI is 10000000, .*; with IPv4 it must have at most 7 digits"),
        ("VNI", "1", 'Backend.VNI is "1"'),
        ("Port", 65_536, "Backend.Port is 65536; it must be a whole number from 0 to 65535"),
        ("GBP", 1, "Backend.GBP is 1; it must be true or false"),
        ("Learning", "no", 'Backend.Learning is "no"'),
        ("MTU", -1, "Backend.MTU is -1"),
        ("DirectRouting", "yes", 'Backend.DirectRouting is "yes"; it must be true or false'),
    ],
)
def test_a_wrong_option_is_told(option: str, value: JSON, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        vxlan(**{option: value})


def test_the_ipv6_device_has_room_for_fewer_digits() -> None:
    assert vxlan(VNI=9999).devices(node(*DUAL)) == {"flannel.9999", "flannel-v6.9999"}
    assert vxlan(VNI=10_000).devices(node()) == {"flannel.10000"}
    with pytest.raises(ConfigError, match="with IPv6 it must have at most 4 digits"):
        vxlan(VNI=10_000).devices(node(*DUAL))


@pytest.mark.parametrize(
    "data, told",
    [
        (None, "null is no JSON object"),
        ("{", "not JSON"),
        ("{}", "'' is not a hardware address"),
        ('{"VNI":1,"VtepMAC":"02:00:00:00:04"}', "is not a hardware address"),
        ('{"VNI":1,"VtepMAC":7}', "VtepMAC is 7; it must be a string"),
        ('{"VNI":2,"VtepMAC":"02:00:00:00:04:02"}', "VNI is 2; it must be 1, as on this node"),
        ('{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}', "VtepMAC is .*; it must be the address of one station"),
        ('{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}', "VtepMAC is .*; it must be the address of one station"),
        ('{"VNI":1,"VtepMAC":"02:00:00:00:04:01"}', "its VTEP has this node's hardware address"),
    ],
)
def test_a_peer_whose_data_leads_nowhere_is_refused(data: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told):
        vxlan().peer(node(), lease(2, endpoint(2, data=data)))


def test_a_peer_of_older_flannel_announces_no_vni() -> None:
    data = '{"vtepmac": "02:00:00:00:04:02"}'
    assert vxlan().peer(node(), lease(2, endpoint(2, data=data))) == vxlan().peer(node(), lease(2))


@given(st.integers(0, 3), st.binary(min_size=6, max_size=6))
def test_law_data_written_to_the_letter_says_what_it_says_in_any_other_spelling(vni: int, octets: bytes) -> None:
    def path(data: str) -> object:
        try:
            return vxlan().peer(node(), lease(2, endpoint(2, data=data)))
        except InputError as error:
            return str(error)

    address = octets.hex(":")
    assert path(f'{{"VNI":{vni},"VtepMAC":"{address}"}}') == path(f'{{"VtepMAC": "{address}", "VNI": {vni}}}')


@given(st.text() | st.from_regex(r'\{"VNI":[0-9]{1,3},"VtepMAC":"[0-9a-f:]{0,20}"\}', fullmatch=True))
def test_no_data_raises_anything_but_an_input_error(data: str) -> None:
    try:
        items = vxlan().peer(node(), lease(2, endpoint(2, data=data)))
    except InputError:
        return
    assert len(items) == 3


@given(st.lists(st.integers(2, 250), unique=True), st.lists(st.integers(2, 250), unique=True))
def test_law_a_change_of_peers_changes_nothing_of_those_that_stay(before: list[int], after: list[int]) -> None:
    def state(numbers: list[int]) -> State:
        return vxlan().state(node(), [lease(number) for number in numbers])

    touched = {str(change.object) for change in diff(state(after), state(before))}
    staying: list[Lease] = [lease(number) for number in before if number in after]
    assert not touched & {str(item) for peer in staying for item in vxlan().peer(node(), peer)}


def test_a_node_finds_its_own_hardware_addresses_in_the_lease_it_announced() -> None:
    here = node(*DUAL)
    ends = zip(here.subnets, vxlan().reaches(here), strict=True)
    own = Lease("node1", "vxlan", tuple(Endpoint(subnet, reach) for subnet, reach in ends))
    assert vxlan().announced(own) == here.hardware
