"""Packet filters: what nft prints is read, and what its rules say is what becomes of packets."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

import pytest

from nankeen.forwarding import Answered, Cause, Dropped, Unknown, datagram, nft, reply_to, walk
from nankeen.forwarding.firewall import ruleset_of
from nankeen.forwarding.packet import IcmpKind, Packet, Sctp
from nankeen.forwarding.ruleset import Hook, Ruleset
from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.firewall import AddressSet, Chain, Firewall, Inside, Jump, Outside, Rule, Table, Verdict
from tests.unit.forwarding.cluster import cluster, node
from tests.unit.forwarding.lines import host

PACKET = datagram(ip_address("10.244.1.5"), ip_address("10.244.2.5"), 53)


def match(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


def field(protocol: str, name: str) -> dict[str, object]:
    return {"payload": {"protocol": protocol, "field": name}}


def meta(key: str) -> dict[str, object]:
    return {"meta": {"key": key}}


def ruleset(
    *rules: list[dict[str, object]], hook: str = "forward", kind: str = "filter", policy: str = "accept"
) -> Ruleset:
    """One table with one chain, as nft prints them."""
    chain = {
        "family": "inet",
        "table": "t",
        "name": "c",
        "handle": 1,
        "type": kind,
        "hook": hook,
        "prio": 0,
        "policy": policy,
    }
    items: list[dict[str, object]] = [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": "inet", "name": "t", "handle": 1}},
        {"chain": chain},
        {"chain": {"family": "inet", "table": "t", "name": "other", "handle": 2}},
        {
            "set": {
                "family": "inet",
                "name": "s",
                "table": "t",
                "type": "ipv4_addr",
                "elem": ["10.244.2.5", {"prefix": {"addr": "10.9.0.0", "len": 16}}],
            }
        },
        {"rule": {"family": "inet", "table": "t", "chain": "other", "handle": 3, "expr": [{"drop": None}]}},
    ]
    items += [
        {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 10 + place, "expr": list(expressions)}}
        for place, expressions in enumerate(rules)
    ]
    listing = "table inet t { # handle 1\n\tchain c { # handle 1\n\t\tthe rule itself # handle 10\n\t}\n}\n"
    return nft.parse(json.dumps({"nftables": items}), listing)


def end_with(found: Ruleset) -> object:
    return walk(cluster(node1=host("node1", node(1), found)), PACKET).end


DROP: dict[str, object] = {"drop": None}


@pytest.mark.parametrize(
    "condition",
    [
        match(field("ip", "daddr"), "10.244.2.5"),
        match(field("ip", "daddr"), {"prefix": {"addr": "10.244.0.0", "len": 16}}),
        match(field("ip", "daddr"), {"set": ["10.1.1.1", "10.244.2.5"]}),
        match(field("ip", "daddr"), {"range": ["10.244.2.0", "10.244.2.9"]}),
        match(field("ip", "daddr"), "@s"),
        match(field("ip", "saddr"), {"prefix": {"addr": "10.9.0.0", "len": 16}}, "!="),
        match(field("udp", "dport"), 53),
        match(field("th", "dport"), {"set": [53, {"range": [60, 70]}]}),
        match(meta("iifname"), "cni0"),
        match(meta("oifname"), "flannel*"),
        match(meta("l4proto"), "udp"),
        match(meta("nfproto"), "ipv4"),
        match({"ct": {"key": "state"}}, ["new", "established"], "in"),
        match({"&": [meta("mark"), 0x4000]}, 0),
    ],
)
def test_a_condition_that_holds_drops_the_packet_and_its_opposite_does_not(condition: dict[str, object]) -> None:
    end = end_with(ruleset([condition, DROP]))
    assert end == Dropped("node1", "cni0", Cause.FILTERED, "the rule itself")
    (content,) = condition.values()
    assert isinstance(content, dict)
    opposite = {"==": "!=", "!=": "==", "in": "!="}[content["op"]]
    assert "delivered" in str(end_with(ruleset([match(content["left"], content["right"], opposite), DROP])))


def test_the_policy_counts_where_no_rule_does_and_names_itself() -> None:
    end = end_with(ruleset(policy="drop"))
    assert end == Dropped("node1", "cni0", Cause.FILTERED, "table inet t chain c policy drop")


def test_the_first_verdict_counts_and_return_ends_a_chain() -> None:
    assert "delivered" in str(end_with(ruleset([{"accept": None}], [DROP])))
    assert "delivered" in str(end_with(ruleset([{"return": None}], [DROP])))
    assert "dropped" in str(end_with(ruleset([{"jump": {"target": "other"}}], [{"accept": None}])))


def test_a_mark_that_is_set_is_seen_by_the_next_rule() -> None:
    setting: dict[str, object] = {"mangle": {"key": meta("mark"), "value": {"|": [meta("mark"), 0x4000]}}}
    condition = match({"&": [meta("mark"), 0x4000]}, 0x4000)
    assert "dropped" in str(end_with(ruleset([setting], [condition, DROP])))
    assert "delivered" in str(end_with(ruleset([condition, DROP], [setting])))


@pytest.mark.parametrize(
    "content,error",
    [(None, IcmpKind.PORT_UNREACHABLE), ({"type": "icmpx", "expr": "admin-prohibited"}, IcmpKind.PROHIBITED)],
)
def test_a_packet_that_is_rejected_is_answered(content: object, error: IcmpKind) -> None:
    end = end_with(ruleset([{"reject": content}]))
    assert isinstance(end, Answered)
    assert end.error is error


@pytest.mark.parametrize(
    "expression",
    [
        {"limit": {"rate": 5, "per": "second"}},
        match({"socket": {"key": "mark"}}, 1),
        {"xt": {"type": "match", "name": "statistic"}},
    ],
)
def test_what_is_not_understood_of_a_rule_is_unknown_only_where_it_matters(expression: dict[str, object]) -> None:
    assert isinstance(end_with(ruleset([expression, DROP])), Unknown)
    assert "delivered" in str(end_with(ruleset([expression, {"counter": {"packets": 1, "bytes": 2}}])))
    assert "delivered" in str(end_with(ruleset([expression, match(field("udp", "dport"), 99), DROP])))


def test_rules_of_families_that_are_not_modelled_make_a_host_unknown() -> None:
    items = [
        {"chain": {"family": "netdev", "table": "t", "name": "c", "handle": 1}},
        {"rule": {"family": "netdev", "table": "t", "chain": "c", "handle": 2, "expr": [{"drop": None}]}},
    ]
    assert isinstance(end_with(nft.parse(json.dumps({"nftables": items}))), Unknown)


@pytest.mark.parametrize(
    "document", ["", "[]", "{}", '{"nftables": [{"rule": {}}]}', '{"nftables": [{"chain": 7}]}', "[" * 100_000]
)
def test_what_is_no_document_of_nft_is_refused_in_words(document: str) -> None:
    with pytest.raises(InputError, match="not a document of nft"):
        nft.parse(document)


def test_masquerade_lends_the_nodes_address_and_the_answer_comes_back() -> None:
    masquerade = ruleset([match(meta("oifname"), "eth0"), {"masquerade": None}], hook="postrouting", kind="nat")
    world = cluster(node1=host("node1", node(1), masquerade))
    there = walk(world, datagram(ip_address("10.244.1.5"), ip_address("192.168.0.12"), 53))
    assert there.delivered
    assert there.last.ip.source == ip_address("192.168.0.11")
    back = walk(world, reply_to(there), "node2", there.connections)
    assert str(back.end) == "delivered to 10.244.1.5 on pod1"
    assert walk(world, reply_to(there), "node2").end != back.end  # without them the answer is for the node


def test_a_host_port_leads_to_its_pod_and_the_answer_carries_the_nodes_address() -> None:
    translate: dict[str, object] = {"dnat": {"family": "ip", "addr": "10.244.1.5", "port": 80}}
    ports = ruleset([match(field("udp", "dport"), 8080), translate], hook="prerouting", kind="nat")
    world = cluster(node1=host("node1", node(1), ports))
    there = walk(world, datagram(ip_address("192.168.0.12"), ip_address("192.168.0.11"), 8080))
    assert str(there.end) == "delivered to 10.244.1.5 on pod1"
    back = walk(world, reply_to(there), "pod1", there.connections)
    assert str(back.end) == "delivered to 192.168.0.12 on node2"
    assert back.last.ip.source == ip_address("192.168.0.11")


def test_a_desired_firewall_says_what_its_table_will() -> None:
    peers = AddressSet("peers4", Family.IPV4)
    tunnel = Chain("tunnel", (Rule(Verdict.RETURN, source=Inside(peers)), Rule(Verdict.DROP)))
    entry = Chain("input", (Rule(Jump("tunnel"), ports=(8472,)),), "type filter hook input priority filter")
    outside = Rule(
        Verdict.MASQUERADE, source=Inside(ip_network("10.244.0.0/16")), destination=Outside(ip_network("10.244.0.0/16"))
    )
    table = Table(
        (entry, tunnel, Chain("postrouting", (outside,), "type nat hook postrouting priority srcnat")), (peers,)
    )
    for known, said in (("192.168.0.11", "delivered"), ("192.168.0.99", "dropped by node2")):
        found = ruleset_of(Firewall(table, frozenset({ip_address(known)})))
        world = cluster(node2=host("node2", node(2), found))
        assert said in str(walk(world, PACKET).end)
    assert found.has(Hook.INPUT, 4, nat=False)


def test_a_rule_about_the_ports_of_sctp_is_about_no_other_protocol() -> None:
    found = ruleset([match(field("sctp", "dport"), 53), DROP])
    world = cluster(node1=host("node1", node(1), found))
    sctp = Packet((PACKET.headers[0], Sctp(40000, 53)))
    assert isinstance(walk(world, sctp).end, Dropped)
    assert walk(world, PACKET).delivered


def test_the_answer_of_sctp_goes_to_the_port_that_asked() -> None:
    found = walk(cluster(), Packet((PACKET.headers[0], Sctp(40000, 53))))
    assert reply_to(found).headers[1] == Sctp(53, 40000)
