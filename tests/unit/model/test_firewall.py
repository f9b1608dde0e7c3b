"""The packet filter as a value: its text is what nft prints."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from nankeen.model.address import Family
from nankeen.model.firewall import AddressSet, Chain, Firewall, Inside, Jump, Outside, Rule, Table, Verdict

IPV4, IPV6 = Inside(ip_network("10.5.0.0/16")), Inside(ip_network("fc00:5::/48"))
PEERS = AddressSet("peers4", Family.IPV4)


@pytest.mark.parametrize(
    "rule,text",
    [
        (Rule(Verdict.DROP), "counter drop"),
        (Rule(Verdict.RETURN, mark=0x4000), "meta mark & 0x00004000 == 0x00004000 return"),
        (Rule(Verdict.RETURN, source=IPV4, destination=IPV4), "ip saddr 10.5.0.0/16 ip daddr 10.5.0.0/16 return"),
        (Rule(Verdict.MASQUERADE, source=IPV6), "ip6 saddr fc00:5::/48 masquerade"),
        (
            Rule(Verdict.MASQUERADE_FULLY_RANDOM, destination=Outside(ip_network("224.0.0.0/4"))),
            "ip daddr != 224.0.0.0/4 masquerade fully-random",
        ),
        (Rule(Verdict.RETURN, source=Inside(ip_network("10.9.0.1/32"))), "ip saddr 10.9.0.1 return"),
        (Rule(Verdict.RETURN, source=Inside(PEERS)), "ip saddr @peers4 return"),
        (Rule(Jump("tunnel"), "cni0", (8472,)), 'iifname "cni0" udp dport 8472 jump tunnel'),
        (Rule(Jump("tunnel"), ports=(8285, 8472)), "udp dport { 8285, 8472 } jump tunnel"),
    ],
)
def test_a_rule_reads_as_nft_prints_it(rule: Rule, text: str) -> None:
    assert str(rule) == text


def test_a_table_reads_as_nft_prints_it() -> None:
    table = Table(
        (
            Chain("input", (Rule(Jump("tunnel"), ports=(8472,)),), "type filter hook input priority filter"),
            Chain("tunnel", (Rule(Verdict.DROP),)),
        ),
        (PEERS,),
    )
    assert str(table).splitlines() == [
        "table inet nankeen {",
        "\tset peers4 {",
        "\t\ttype ipv4_addr",
        "\t}",
        "",
        "\tchain input {",
        "\t\ttype filter hook input priority filter; policy accept;",
        "\t\tudp dport 8472 jump tunnel",
        "\t}",
        "",
        "\tchain tunnel {",
        "\t\tcounter drop",
        "\t}",
        "}",
    ]


def test_a_set_holds_the_peers_of_its_family() -> None:
    peers = frozenset({ip_address("10.99.0.2"), ip_address("fd99::2")})
    assert Firewall(peers=peers).elements(PEERS) == {ip_address("10.99.0.2")}
