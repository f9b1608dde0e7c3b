"""Predictions held against reality: packets are known again, and what fares otherwise is told."""

from __future__ import annotations

import errno
import random
import struct
from ipaddress import IPv4Address, ip_address

import pytest

from bench.predict import damage, wire
from bench.predict.judge import mismatch
from bench.predict.packets import Case, Places
from bench.predict.wire import Arrival, Complaint, Fate
from nankeen.forwarding import World, walk
from tests.unit.forwarding.cluster import cluster, node, without
from tests.unit.forwarding.lines import host

TAG, NUMBER = 0x6E00_0001, 40_000
POD1, POD2, GATEWAY = IPv4Address("10.244.1.5"), IPv4Address("10.244.2.5"), IPv4Address("10.244.1.1")
CASE = Case("pod1", POD2, "udp", 100, dont_fragment=False, ttl=64)
WHOLE = Arrival("pod2", POD1, POD2, 62, 100)


def told(fate: Fate, case: Case = CASE, world: World | None = None) -> str | None:
    world = world or cluster()
    return mismatch(world, case, walk(world, case.packet(NUMBER), case.host), fate)


@pytest.mark.parametrize("protocol", ["udp", "tcp", "icmp"])
@pytest.mark.parametrize("to", ["10.244.2.5", "fd44:0:0:2::5"])
def test_a_packet_is_known_again_where_it_arrives_and_in_an_error_about_it(protocol: str, to: str) -> None:
    address = ip_address(to)
    case = Case("pod1", address, protocol, 0 if protocol == "tcp" else 20, dont_fragment=False, ttl=64)
    segment = wire._segment(case, NUMBER, TAG)
    number = wire._PROTOCOLS[protocol][address.version]
    assert wire._tag(address.version, number, segment) == TAG
    if address.version == 4:
        quoted = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, number, 0, POD1.packed, address.packed) + segment
    else:
        quoted = struct.pack("!IHBB16s16s", 6 << 28, len(segment), number, 64, address.packed, address.packed) + segment
    assert wire._quoted(address.version, quoted) == TAG


def test_a_tunnels_packets_are_not_taken_for_ours() -> None:
    vxlan = struct.pack("!HHHH", 5555, 8472, 100, 0) + b"\x08\0\0\0" + bytes(100)
    assert wire._tag(4, 17, vxlan) != TAG
    assert wire._quoted(4, b"") == -1


def test_a_checksum_is_right() -> None:
    segment = wire._summed(CASE, wire._segment(CASE, NUMBER, TAG), POD1)
    pseudo = POD1.packed + POD2.packed + struct.pack("!II", len(segment), 17)
    assert wire._checksum(pseudo + segment) == 0


def test_what_fares_as_predicted_is_no_mismatch() -> None:
    assert told(Fate(arrivals=[WHOLE])) is None


@pytest.mark.parametrize("fate, words", [
    (Fate(), "in truth"),
    (Fate(arrivals=[Arrival("pod3", POD1, POD2, 62, 100)]), "in truth"),
    (Fate(arrivals=[WHOLE, WHOLE]), "delivered 2 times"),
    (Fate(arrivals=[Arrival("pod2", GATEWAY, POD2, 62, 100)]), "it came as"),
    (Fate(arrivals=[Arrival("pod2", POD1, GATEWAY, 62, 100)]), "it came as"),
    (Fate(arrivals=[Arrival("pod2", POD1, POD2, 61, 100)]), "it came as"),
    (Fate(arrivals=[Arrival("pod2", POD1, POD2, 62, 99)]), "it came as"),
    (Fate(arrivals=[WHOLE], complaints=[Complaint("pod1", GATEWAY, (3, 1))]), "its sender was told"),
])  # fmt: skip
def test_what_arrives_otherwise_than_predicted_is_told(fate: Fate, words: str) -> None:
    assert words in (told(fate) or "")


def test_that_nobody_listens_is_told_to_whoever_sent_what_arrives() -> None:
    assert told(Fate(arrivals=[WHOLE], complaints=[Complaint("pod1", POD2, (3, 3))])) is None


EXPIRED = Case("pod1", POD2, "udp", 100, dont_fragment=False, ttl=1)


@pytest.mark.parametrize("heard, words", [
    (Complaint("pod1", GATEWAY, (11, 0)), ""),
    (Complaint("pod1", GATEWAY, (3, 1)), "not (11, 0)"),
    (Complaint("pod1", POD2, (11, 0)), "not from 10.244.1.1"),
    (None, "in truth silence"),
])  # fmt: skip
def test_an_error_is_held_to_its_type_and_its_source(heard: Complaint | None, words: str) -> None:
    found = told(Fate(complaints=[heard] if heard else []), EXPIRED)
    assert (found is None) if not words else words in (found or "")


def test_what_a_host_refuses_its_own_sender_is_held_to_the_error_that_was_predicted() -> None:
    large = Case("pod1", POD2, "udp", 2000, dont_fragment=True, ttl=64)
    assert told(Fate(errno=errno.EMSGSIZE), large) is None
    assert "ENETUNREACH" in (told(Fate(errno=errno.ENETUNREACH), large) or "")


def test_what_is_predicted_to_be_dropped_must_not_arrive() -> None:
    broken = cluster(node1=host("node1", without(node(1), "02:00:00:00:02:02 dev flannel.1")))
    assert told(Fate(), world=broken) is None
    assert "in truth delivered" in (told(Fate(arrivals=[WHOLE]), world=broken) or "")


def test_the_same_seed_draws_the_same_damage_and_the_same_packets() -> None:
    def drawn() -> list[object]:
        chance, world = random.Random(7), cluster()
        places = Places(world, ("pod1", "node1"), (4, 6))
        return [
            found
            for _ in range(20)
            for found in (damage.drawn(chance, world, tuple(world.hosts)), places.drawn(chance))
        ]

    assert drawn() == drawn()


def test_every_kind_of_damage_can_be_drawn() -> None:
    chance, world = random.Random(1), cluster()
    kinds = {damage.drawn(chance, world, tuple(world.hosts)).kind for _ in range(600)}
    assert kinds == damage.KINDS.keys()
