"""What a node's packet filter shall hold, decided on paper."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend.traffic import TrafficOptions, desired_firewall
from nankeen.model.address import IPAddress
from nankeen.model.firewall import AddressSet, Firewall, Inside, Outside, Rule, Verdict
from tests.unit.backend.fabric import IPV4, IPV6, endpoint, endpoint6, lease, node

BOTH = (str(IPV4), str(IPV6))


def firewall(*networks: str, peers: int = 0, ports: tuple[int, ...] = (8472,), **options: object) -> Firewall:
    return desired_firewall(
        node(*networks),
        [lease(number, endpoint(number), endpoint6(number)) for number in range(2, 2 + peers)],
        ports=ports,
        tunnels=["flannel.1"],
        bridge="cni0",
        options=TrafficOptions(**options),  # type: ignore[arg-type]  # by name, as the tests give them
    )


def chain(wanted: Firewall, name: str) -> list[str]:
    """A chain's rules, as nft prints them."""
    assert wanted.table is not None
    return next([str(rule) for rule in found.rules] for found in wanted.table.chains if found.name == name)


def test_masquerade_follows_flannels_rules_in_their_order() -> None:
    assert chain(firewall(*BOTH, ip_masq=True), "postrouting") == [
        "meta mark & 0x00004000 == 0x00004000 return",
        "ip saddr 10.5.1.0/24 ip daddr 10.5.0.0/16 return",
        "ip saddr 10.5.0.0/16 ip daddr 10.5.1.0/24 return",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.1.0/24 return",
        "ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random",
        "ip6 saddr fc00:5:0:1::/64 ip6 daddr fc00:5::/48 return",
        "ip6 saddr fc00:5::/48 ip6 daddr fc00:5:0:1::/64 return",
        "ip6 saddr != fc00:5::/48 ip6 daddr fc00:5:0:1::/64 return",
        "ip6 saddr fc00:5::/48 ip6 daddr != ff00::/8 masquerade fully-random",
        "ip6 saddr != fc00:5::/48 ip6 daddr fc00:5::/48 masquerade fully-random",
    ]


def test_networks_that_are_excepted_come_before_all_masquerade_of_their_family() -> None:
    excepted = (ip_network("192.168.0.0/16"), ip_network("fd99::/64"))
    wanted = firewall(ip_masq=True, fully_random=False, unmasqueraded=excepted)
    assert chain(wanted, "postrouting")[1:3] == [
        "ip saddr 10.5.0.0/16 ip daddr 192.168.0.0/16 return",
        "ip saddr 192.168.0.0/16 ip daddr 10.5.0.0/16 return",
    ]
    assert chain(wanted, "postrouting")[-2:] == [
        "ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade",
    ]


def test_tunnels_take_packets_from_peers_only_and_none_from_pods() -> None:
    wanted = firewall(*BOTH, ports=(8472, 8285), tunnel_sources=(ip_network("192.0.2.0/24"),))
    assert chain(wanted, "input") == ["udp dport { 8285, 8472 } jump tunnel"]
    assert chain(wanted, "tunnel") == [
        'iifname "cni0" counter drop',
        'iifname "flannel.1" counter drop',
        "ip saddr @peers4 return",
        "ip6 saddr @peers6 return",
        "ip saddr 192.0.2.0/24 return",
        "counter drop",
    ]
    assert chain(wanted, "forward") == ['iifname "cni0" udp dport { 8285, 8472 } jump pods']
    assert chain(wanted, "pods") == ["ip daddr 10.5.0.0/16 return", "ip6 daddr fc00:5::/48 return", "counter drop"]


def test_peers_are_known_by_the_outer_addresses_of_the_families_in_use() -> None:
    assert firewall(peers=1).peers == {ip_address("10.99.0.2")}
    assert firewall(*BOTH, peers=1).peers == {ip_address("10.99.0.2"), ip_address("fd99::2")}


def test_peers_change_the_sets_and_never_the_table() -> None:
    assert firewall(*BOTH, peers=3).table == firewall(*BOTH).table


def test_without_tunnels_and_masquerade_there_is_no_table() -> None:
    wanted = firewall(ports=(), peers=2)
    assert wanted.table is None
    assert wanted.peers == frozenset()
    assert wanted.forwarded == (IPV4,)
    assert firewall(ports=(), forward_rules=False) == Firewall()


_POOL = IPv4Network("10.5.0.0/16")
_OWN = IPv4Network("10.5.1.0/24")
_NEAR = st.sampled_from(
    [
        IPv4Address(text)
        for text in ("10.5.1.7", "10.5.1.0", "10.5.2.9", "10.6.0.1", "224.0.0.5", "10.99.0.1", "8.8.8.8")
    ]
)
_ADDRESSES = _NEAR | st.ip_addresses(v=4)


@given(_ADDRESSES, _ADDRESSES, st.sampled_from([0, 0x4000, 0xC000, 0x8000]))
def test_every_packet_meets_the_same_fate_as_under_flannels_iptables_rules(
    source: IPv4Address, destination: IPv4Address, mark: int
) -> None:
    wanted = firewall(ip_masq=True).table
    assert wanted is not None
    rules = next(found.rules for found in wanted.chains if found.name == "postrouting")
    fate = next((rule.verdict for rule in rules if _meets(rule, source, destination, mark)), Verdict.RETURN)
    assert (fate is Verdict.MASQUERADE_FULLY_RANDOM) == _flannel_masquerades(source, destination, mark)


def _flannel_masquerades(source: IPv4Address, destination: IPv4Address, mark: int) -> bool:
    """Flannel's six rules in words."""
    from_pods, to_pods, to_own = source in _POOL, destination in _POOL, destination in _OWN
    if mark & 0x4000 or (from_pods and source in _OWN and to_pods) or to_own:
        return False
    if from_pods:
        return not destination.is_multicast
    return to_pods


def _meets(rule: Rule, source: IPAddress, destination: IPAddress, mark: int) -> bool:
    marked = rule.mark is None or bool(mark & rule.mark)
    return marked and _lies(source, rule.source) and _lies(destination, rule.destination)


def _lies(address: IPAddress, condition: Inside | None) -> bool:
    if condition is None:
        return True
    assert not isinstance(condition.place, AddressSet)
    return (address in condition.place) is not isinstance(condition, Outside)
