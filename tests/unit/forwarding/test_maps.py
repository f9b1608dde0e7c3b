"""DNAT by a map, as host ports and newer proxies have it: what nft prints is read, and what it says is what happens."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest

from nankeen.forwarding import nft
from nankeen.forwarding.ruleset import Act, Hook, Look, Outcome, Ruleset
from nankeen.forwarding.tables import Unpredictable

PROTOCOL = {"meta": {"key": "l4proto"}}
PORT = {"payload": {"protocol": "th", "field": "dport"}}
DESTINATION = {"payload": {"protocol": "ip", "field": "daddr"}}
TABLE = {"family": "inet", "table": "t"}
MAPS = [
    {
        "map": {
            **TABLE,
            "name": "ports",
            "type": ["inet_proto", "inet_service"],
            "map": "ipv4_addr . inet_service",
            "elem": [[{"concat": ["tcp", 80]}, {"concat": ["10.5.34.2", 8080]}]],
        }
    },
    {
        "map": {
            **TABLE,
            "name": "one",
            "type": "ipv4_addr",
            "map": "ipv4_addr",
            "elem": [["192.0.2.1", "10.5.34.3"], [{"elem": {"val": "192.0.2.2", "comment": "x"}}, "10.5.34.4"]],
        }
    },
    {"map": {**TABLE, "name": "empty", "type": "ipv4_addr", "map": "ipv4_addr"}},
    {"map": {**TABLE, "name": "wide", "type": "ipv4_addr", "map": "ipv4_addr", "elem": [[{"prefix": {}}, "10.0.0.1"]]}},
]


def dnat(key: object, data: object, family: str | None = "ip") -> dict[str, Any]:
    found = {"addr": {"map": {"key": key, "data": data}}}
    return {"dnat": found if family is None else {"family": family, **found}}


def ruleset(*rules: list[dict[str, Any]]) -> Ruleset:
    chain = {**TABLE, "name": "c", "handle": 1, "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}
    items = [
        {"rule": {**TABLE, "chain": "c", "handle": number, "expr": expressions}}
        for number, expressions in enumerate(rules)
    ]
    return nft.parse(json.dumps({"nftables": [{"chain": chain}, *MAPS, *items]}))


def ask(found: Ruleset, to: str = "192.0.2.1", port: int = 80, protocol: int = 6, mark: int = 0) -> Outcome:
    version = ip_address(to).version
    facts = {
        "meta nfproto": f"ipv{version}",
        "meta l4proto": protocol,
        "th dport": port,
        ("ip daddr" if version == 4 else "ip6 daddr"): ip_address(to),
    }
    return found.verdict(Hook.PREROUTING, Look(facts), version, nat=True, mark=mark)


def place(outcome: Outcome) -> str:
    """Where a packet is sent on to; "" where it stays."""
    action = outcome.action
    return f"{action.address} {action.port}" if action.act is Act.DNAT else ""


def test_a_map_leads_to_an_address_and_a_port() -> None:
    found = ruleset([dnat({"concat": [PROTOCOL, PORT]}, "@ports")])
    assert place(ask(found)) == "10.5.34.2 8080"
    assert place(ask(found, protocol=17)) == ""
    assert place(ask(found, port=81)) == ""


def test_a_map_may_lead_to_an_address_alone_and_be_written_out() -> None:
    written = {"set": [["192.0.2.1", "10.5.34.9"]]}
    assert place(ask(ruleset([dnat(DESTINATION, "@one")]))) == "10.5.34.3 None"
    assert place(ask(ruleset([dnat(DESTINATION, "@one")]), "192.0.2.2")) == "10.5.34.4 None"
    assert place(ask(ruleset([dnat(DESTINATION, written, None)]))) == "10.5.34.9 None"


def test_a_map_that_leads_nowhere_leaves_the_packet_to_the_next_rule() -> None:
    rules = [dnat(DESTINATION, "@empty")], [dnat({"concat": [PROTOCOL, PORT]}, "@ports")]
    outcome = ask(ruleset(*rules))
    assert place(outcome) == "10.5.34.2 8080"
    assert str(outcome.by) == "table inet t chain c handle 1"


def test_packets_of_the_other_family_are_not_meant() -> None:
    assert place(ask(ruleset([dnat({"concat": [PROTOCOL, PORT]}, "@ports")]), "fd00::1")) == ""
    assert place(ask(ruleset([dnat({"concat": [PROTOCOL, PORT]}, "@ports", "ip6")]))) == ""


@pytest.mark.parametrize(
    "statement",
    [dnat(DESTINATION, "@wide"), dnat({"socket": {}}, "@one"), dnat(DESTINATION, {"set": [["192.0.2.1", 7]]})],
)
def test_what_a_map_that_is_not_understood_does_is_unknown(statement: dict[str, Any]) -> None:
    with pytest.raises(Unpredictable, match="what the rule does is not understood: table inet t chain c handle 0"):
        ask(ruleset([statement]))


def test_a_bit_of_the_mark_is_set_and_taken() -> None:
    mark = {"meta": {"key": "mark"}}
    set_it = {"mangle": {"key": mark, "value": {"|": [mark, 0x2000]}}}
    take_it = {"mangle": {"key": mark, "value": {"&": [mark, 0xFFFF_DFFF]}}}
    assert ask(ruleset([set_it]), mark=1).mark == 0x2001
    assert ask(ruleset([set_it], [take_it]), mark=1).mark == 1
