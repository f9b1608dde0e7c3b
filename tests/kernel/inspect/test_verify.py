"""`verify` on networks made by hand: a whole one, and each way to break it is found and named."""

from __future__ import annotations

from pathlib import Path

from nankeen.inspect.plan import Protocol
from nankeen.inspect.verdict import Finding, Report, Rule
from nankeen.inspect.verify import verify
from nankeen.model.address import Family
from tests.kernel.inspect.conftest import HandMadeNetwork

RELATIONS = ("pod → pod", "node → pod", "pod → node")


def findings(report: Report, rule: Rule, family: Family = Family.IPV4) -> list[Finding]:
    return [finding for finding in report.findings if (finding.matter.rule, finding.matter.family) == (rule, family)]


def subjects(report: Report, rule: Rule, family: Family = Family.IPV4) -> set[str]:
    return {finding.subject for finding in findings(report, rule, family)}


def seen(report: Report, rule: Rule, subject: str, protocol: Protocol, family: Family = Family.IPV4) -> str:
    """What was seen instead of what the rule demands of that subject."""
    [found] = [
        finding
        for finding in findings(report, rule, family)
        if (finding.subject, finding.matter.protocol) == (subject, protocol)
    ]
    return found.seen


def open_files() -> set[str]:
    """The descriptors that this process has open."""
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.exists()}


async def test_a_whole_network_is_proven_in_both_families_and_every_protocol(network: HandMadeNetwork) -> None:
    report = await verify(network.cluster())
    assert report.findings == ()
    assert report.holds
    proven = {tally.matter: tally.proven for tally in report.tallies}
    by_kind = {(matter.rule, matter.relation, matter.protocol, matter.family): proven[matter] for matter in proven}
    for family in Family:
        assert by_kind[Rule.ADDRESS, "pod", None, family] == 3
        for relation in RELATIONS:
            for protocol in Protocol:
                assert by_kind[Rule.REACH, relation, protocol, family] == 6
                assert by_kind[Rule.SOURCE, relation, protocol, family] == 6
            assert by_kind[Rule.FULL_MTU, relation, Protocol.ICMP, family] == 6
            assert by_kind[Rule.TOO_LARGE, relation, Protocol.ICMP, family] == 6


async def test_a_missing_route_is_told_by_the_router_that_lacks_it(network: HandMadeNetwork) -> None:
    network("node1", "route del 10.244.2.0/24")
    report = await verify(network.cluster())
    broken = subjects(report, Rule.REACH)
    assert {"pod1 → pod2", "pod3 → pod2", "node1 → pod2", "pod2 → pod1", "pod2 → pod3"} <= broken
    assert "pod1 → pod3" not in broken
    assert not subjects(report, Rule.REACH, Family.IPV6)
    told = "node1 at 10.244.1.1 says: network unreachable"
    assert seen(report, Rule.REACH, "pod1 → pod2", Protocol.ICMP) == told
    own = seen(report, Rule.REACH, "node1 → pod2", Protocol.UDP)
    assert own == "its own kernel says: network is unreachable (ENETUNREACH)"


async def test_a_lost_answer_is_told_apart_from_a_lost_request(network: HandMadeNetwork) -> None:
    network.firewall("node1", "filter hook forward", "ip saddr 10.244.1.2 ip daddr 10.244.2.2 drop")
    report = await verify(network.cluster())
    assert subjects(report, Rule.REACH) == {"pod1 → pod2", "pod2 → pod1"}
    lost = seen(report, Rule.REACH, "pod2 → pod1", Protocol.UDP)
    assert lost == "no answer in 3.5 s; the probe arrived at pod1 from 10.244.2.2"


async def test_an_answer_that_is_refused_is_told_apart_from_a_refused_request(network: HandMadeNetwork) -> None:
    network.firewall("pod1", "filter hook output", "ip daddr 10.244.2.2 udp sport >= 1024 drop")
    report = await verify(network.cluster())
    assert subjects(report, Rule.REACH) == {"pod1 → pod2", "pod2 → pod1"}
    own = seen(report, Rule.REACH, "pod1 → pod2", Protocol.UDP)
    assert own == "its own kernel says: operation not permitted (EPERM)"
    answer = seen(report, Rule.REACH, "pod2 → pod1", Protocol.UDP)
    assert answer == "pod1's own kernel says of its answer: operation not permitted (EPERM)"


async def test_a_missing_ipv6_route_is_told_by_the_router_that_lacks_it(network: HandMadeNetwork) -> None:
    network("node1", "route del fd00:10:244:2::/64")
    report = await verify(network.cluster())
    told = "node1 at fd00:10:244:1::1 says: no route to destination"
    assert seen(report, Rule.REACH, "pod1 → pod2", Protocol.ICMP, Family.IPV6) == told
    assert not subjects(report, Rule.REACH, Family.IPV4)


async def test_a_wrong_neighbour_entry_leaves_silence_between_the_pairs_behind_it(network: HandMadeNetwork) -> None:
    network("node1", "neigh replace 192.168.0.12 dev eth0 lladdr 02:00:00:00:00:99 nud permanent")
    report = await verify(network.cluster())
    broken = subjects(report, Rule.REACH)
    assert {"pod1 → pod2", "pod3 → pod2"} <= broken
    assert not broken & {"pod1 → pod3", "pod3 → pod1", "node2 → pod2", "pod1 → node1"}
    assert seen(report, Rule.REACH, "pod1 → pod2", Protocol.UDP) == "no answer in 3.5 s"


async def test_a_masquerade_in_between_is_seen_in_every_protocol(network: HandMadeNetwork) -> None:
    network.firewall("node1", "nat hook postrouting", "oifname eth0 masquerade")
    report = await verify(network.cluster())
    assert not subjects(report, Rule.REACH)
    for family, address in ((Family.IPV4, "192.168.0.11"), (Family.IPV6, "fd00:192:168::11")):
        masqueraded = {"pod1 → pod2", "pod3 → pod2", "pod1 → node2", "pod3 → node2"}
        assert subjects(report, Rule.SOURCE, family) == masqueraded
        for protocol in Protocol:
            told = seen(report, Rule.SOURCE, "pod1 → pod2", protocol, family)
            assert told == f"pod2 saw {address}, the address of node1"


async def test_a_too_small_mtu_on_the_way_is_told_with_router_and_mtu(network: HandMadeNetwork) -> None:
    network("node1", "link set eth0 mtu 1400")
    network("node2", "link set eth0 mtu 1400")
    report = await verify(network.cluster())
    assert not subjects(report, Rule.REACH)

    def told(subject: str, family: Family) -> str:
        return seen(report, Rule.FULL_MTU, subject, Protocol.ICMP, family)

    fragmentation_needed = "node1 at 10.244.1.1 says: fragmentation needed and DF set, MTU 1400"
    assert told("pod1 → pod2", Family.IPV4) == fragmentation_needed
    assert told("pod2 → pod1", Family.IPV6) == "node2 at fd00:10:244:2::1 says: packet too big, MTU 1400"
    assert told("node1 → pod2", Family.IPV4) == "its own kernel says: message too long (EMSGSIZE), MTU 1400"
    refused_for_another_mtu = {"node1 → pod2", "node2 → pod1", "node2 → pod3"}
    assert subjects(report, Rule.TOO_LARGE) == refused_for_another_mtu


async def test_an_mtu_black_hole_is_silence_for_full_packets_only(network: HandMadeNetwork) -> None:
    network.firewall("node1", "filter hook forward", "oifname eth0 meta length > 1400 drop")
    report = await verify(network.cluster())
    assert not subjects(report, Rule.REACH)
    assert {"pod1 → pod2", "pod3 → pod2"} <= subjects(report, Rule.FULL_MTU)
    told = "no answer in 3.5 s; packets of up to 1400 bytes pass"
    assert seen(report, Rule.FULL_MTU, "pod1 → pod2", Protocol.ICMP) == told


async def test_a_packet_too_large_for_a_pod_of_smaller_mtu_is_refused_by_a_router(network: HandMadeNetwork) -> None:
    network("pod2", "link set eth0 mtu 1400")
    network("node2", "link set veth-pod2 mtu 1400", "link set cni0 mtu 1400")
    report = await verify(network.cluster())
    assert report.findings == ()


async def test_a_pod_without_address_is_named(network: HandMadeNetwork) -> None:
    network("pod3", "addr flush dev eth0")
    report = await verify(network.cluster())
    assert [str(finding) for finding in report.findings] == [
        "pod3, IPv4: expected one address of its own; its devices hold none, though it was given 10.244.1.3",
        "pod3, IPv6: expected one address of its own; its devices hold none, though it was given fd00:10:244:1::3",
    ]


async def test_two_pods_with_one_address_are_named_and_so_is_who_answers(network: HandMadeNetwork) -> None:
    network("pod3", "addr del 10.244.1.3/24 dev eth0", "addr add 10.244.1.2/24 dev eth0")
    network("pod3", "route add default via 10.244.1.1")
    report = await verify(network.cluster(pod3="10.244.1.2 fd00:10:244:1::3"))
    assert [str(finding) for finding in findings(report, Rule.ADDRESS)] == [
        "pod1, IPv4: expected one address of its own; 10.244.1.2 is also the address of pod3",
        "pod3, IPv4: expected one address of its own; 10.244.1.2 is also the address of pod1",
    ]
    answered = {finding.seen for finding in findings(report, Rule.REACH)}
    assert answered & {"10.244.1.2 was answered by pod1", "10.244.1.2 was answered by pod3"}


async def test_a_filtered_protocol_is_told_apart_from_the_others(network: HandMadeNetwork) -> None:
    network.firewall("node2", "filter hook forward", "meta l4proto tcp reject with icmpx admin-prohibited")
    report = await verify(network.cluster())
    assert {finding.matter.protocol for finding in report.findings} == {Protocol.TCP}
    told = "node2 at 192.168.0.12 says: communication administratively prohibited"
    assert seen(report, Rule.REACH, "pod1 → pod2", Protocol.TCP) == told


async def test_no_socket_or_namespace_is_left_open(network: HandMadeNetwork) -> None:
    cluster = network.cluster()
    before = open_files()
    await verify(cluster)
    assert open_files() == before
