"""Pods are let through where somebody has set the FORWARD chain of iptables to drop, on either of its engines."""

from __future__ import annotations

import pytest

from nankeen.model.address import Family
from nankeen.model.firewall import NO_FIREWALL
from tests.kernel.firewall.world import BOTH, ECHO, World, firewall, inside, underlay

ENGINES = pytest.mark.parametrize("engine", ["legacy", "nft"])


def iptables(engine: str, family: Family) -> str:
    return f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{engine}"


def forwards(world: World, family: Family) -> bool:
    """Whether a pod's datagram comes out of its node. What the node sends after it tells when to stop waiting."""
    with world.listen("lan", family) as receiver:
        world.send("pod1", underlay(9, family), b"from the pod")
        world.send("node1", underlay(9, family), b"marker")
        first = receiver.next()[1]
        if first == b"from the pod":
            assert receiver.next()[1] == b"marker"
        return first == b"from the pod"


@BOTH
@ENGINES
@pytest.mark.parametrize(
    "wall",
    [
        "-P FORWARD DROP",
        "-A FORWARD -j REJECT",
        "-N WALL ; -A WALL -j DROP ; -A FORWARD -m comment --comment last -j WALL",
    ],
)
def test_pods_pass_a_forward_chain_that_drops(world: World, family: Family, engine: str, wall: str) -> None:
    node, program = world.nets["node1"], iptables(engine, family)
    for arguments in wall.split(" ; "):
        node.run(f"{program} {arguments}")
    assert not forwards(world, family)
    assert world.filter().converge(firewall(protect=False)) == [f"+ chain NANKEEN-FWD in table filter of {program}"]
    assert forwards(world, family)
    assert world.filter().converge(firewall(protect=False)) == []


@BOTH
@ENGINES
def test_what_an_administrator_refuses_to_some_stays_refused(world: World, family: Family, engine: str) -> None:
    node, program = world.nets["node1"], iptables(engine, family)
    node.run(f"{program} -A FORWARD -p udp --dport {ECHO} -s {inside(1, 5, family)} -j DROP")
    node.run(f"{program} -P FORWARD DROP")
    world.filter().converge(firewall())
    assert not forwards(world, family)


@ENGINES
@pytest.mark.parametrize(
    "damage",
    [
        "-F FORWARD",
        "-F NANKEEN-FWD",
        "-D NANKEEN-FWD 1",
        "-A NANKEEN-FWD -j DROP",
        "-I NANKEEN-FWD -j RETURN",
        "-I FORWARD -j DROP",
        "-A FORWARD -j NANKEEN-FWD",
    ],
)
def test_damage_is_repaired(world: World, engine: str, damage: str) -> None:
    node, program = world.nets["node1"], iptables(engine, Family.IPV4)
    node.run(f"{program} -P FORWARD DROP")
    world.filter().converge(firewall())
    node.run(f"{program} {damage}")
    assert world.filter().converge(firewall()) == [f"+ chain NANKEEN-FWD in table filter of {program}"]
    assert forwards(world, Family.IPV4)
    assert world.filter().converge(firewall()) == []


@ENGINES
def test_rules_of_others_are_as_they_were_in_their_order_and_after_us_too(world: World, engine: str) -> None:
    node, program = world.nets["node1"], iptables(engine, Family.IPV4)
    for arguments in (
        "-N DOCKER-USER",
        "-A DOCKER-USER -j RETURN",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -j REJECT",
        "-A INPUT -s 192.0.2.1/32 -j DROP",
        "-P FORWARD DROP",
        "-t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    ):
        node.run(f"{program} {arguments}")
    before = _rules(node.run(f"{program}-save"))
    world.filter().converge(firewall(ip_masq=True))
    during = _rules(node.run(f"{program}-save"))
    assert [rule for rule in during if "NANKEEN" not in rule] == before
    assert (
        during.index(next(rule for rule in during if rule.endswith("-j NANKEEN-FWD")))
        == during.index("-A FORWARD -j REJECT --reject-with icmp-port-unreachable") - 1
    )
    world.filter().remove()
    assert _rules(node.run(f"{program}-save")) == before


def test_an_engine_that_is_not_in_use_is_not_brought_into_use(world: World) -> None:
    node = world.nets["node1"]
    world.filter().converge(firewall(ip_masq=True))
    assert node.run("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names") == ""
    assert node.run("nft list tables") == "table inet nankeen\n"


def test_without_forward_rules_the_chain_is_taken_away_again(world: World) -> None:
    node = world.nets["node1"]
    node.run("iptables-nft -P FORWARD DROP")
    world.filter().converge(firewall())
    assert world.filter().converge(NO_FIREWALL) == [
        "- table inet nankeen",
        "- chain NANKEEN-FWD in table filter of iptables-nft",
    ]
    assert not forwards(world, Family.IPV4)


def test_what_no_rule_of_ours_can_undo_is_named_with_what_to_do(world: World) -> None:
    node, wanted = world.nets["node1"], firewall()
    node.run("iptables-nft -P FORWARD DROP")  # not one of them: it is undone
    assert world.filter().obstacles(wanted) == []
    node.run("nft add table inet firewalld")
    node.run("nft add table ip admin")
    node.run("nft add chain ip admin gate { type filter hook forward priority 5 ; policy drop ; }")
    firewalld, admin = world.filter().obstacles(wanted)
    assert "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16 --add-source=fd44::/48 and" in firewalld
    assert admin == (
        "chain gate of table ip admin drops what it does not accept: let 10.244.0.0/16 and fd44::/48 pass there"
    )


def _rules(saved: str) -> list[str]:
    """The chains and rules in the output of iptables-save, without counters."""
    return [line.split(" [")[0] for line in saved.splitlines() if line.startswith((":", "-A"))]
