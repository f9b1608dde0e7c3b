"""Packets in fragments at packet filters: what is not put together is judged piece by piece."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nankeen.forwarding import Answered, Delivered, Dropped, World, datagram, walk
from nankeen.forwarding.ruleset import Act, Action, Base, Chain, Hook, Match, Members, Rule, Ruleset
from tests.unit.forwarding.cluster import cluster, node
from tests.unit.forwarding.lines import host

POD1, POD2 = ip_address("10.244.1.5"), ip_address("10.244.2.5")
TO_53 = Match("udp dport", Members(frozenset({53})))
NEW = Match("ct state", Members(frozenset({"new"})))
SMALL, LARGE = 100, 3000


def filtering(*rules: Rule, drops: bool = False, hook: Hook = Hook.FORWARD) -> World:
    base = Base("inet t", "c", hook, 0, "filter", drops)
    return cluster(node1=host("node1", node(1), Ruleset((base,), {("inet t", "c"): Chain(rules)})))


def end(world: World, payload: int) -> object:
    return walk(world, datagram(POD1, POD2, 53, payload)).end


@pytest.mark.parametrize("payload, told", [(SMALL, Answered), (LARGE, Dropped)])
def test_nobody_is_told_that_a_fragment_was_rejected(payload: int, told: type) -> None:
    assert isinstance(end(filtering(Rule((TO_53,), (Action(Act.REJECT),), "reject")), payload), told)


@pytest.mark.parametrize("payload, told", [(SMALL, Delivered), (LARGE, Dropped)])
def test_later_fragments_have_no_port(payload: int, told: type) -> None:
    assert isinstance(end(filtering(Rule((TO_53,), (Action(Act.ACCEPT),), "accept"), drops=True), payload), told)


def test_where_connections_are_tracked_packets_are_whole() -> None:
    tracked = Rule((NEW, TO_53), (Action(Act.REJECT),), "reject")
    assert isinstance(end(filtering(tracked), LARGE), Answered)
    accepted = Rule((TO_53, NEW), (Action(Act.ACCEPT),), "accept")
    assert isinstance(end(filtering(accepted, drops=True), LARGE), Delivered)
