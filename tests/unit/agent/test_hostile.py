"""Leases that somebody wrote with bad intent: each is refused alone and named, and nobody else loses a packet."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nankeen.agent.log import _Formatter
from nankeen.backend.traffic import TrafficOptions
from nankeen.model.diff import diff
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import LONGEST, decode, encode, key, parse_key
from nankeen.model.printable import LONGEST_NAME, printable
from nankeen.model.state import State
from tests.unit.agent.cluster import BACKENDS, CASES, OUR_VTEP, announcement, fabric, lease

SUBNETS = [
    "10.244.9.0-24", "10.244.1.0-24", "10.244.2.0-24", "10.244.2.128-25", "10.244.2.0-23", "10.244.0.0-16",
    "10.244.0.0-17", "0.0.0.0-0", "10.0.0.0-8", "10.245.9.0-24", "127.0.0.0-8", "224.0.0.0-4", "10.244.2.7-32",
    "fd00:244:0:9::-64", "fd00:244:0:2::-64", "fd00:244::-48", "::-0", "ff00::-8", "fe80::-64",
    "10.244.9.0-24&fd00:244:0:9::-64", "10.244.2.0-24&fd00:244:0:9::-64", "10.244.9.0-24&fd00:244:0:1::-64",
    "10.244.9.0-24&fe80::-64",
]  # fmt: skip
ADDRESSES = [
    "192.168.0.9", "192.168.0.1", "192.168.0.2", "192.168.0.0", "192.168.0.255", "0.0.0.0", "127.0.0.1", "224.0.0.1",  # noqa: S104
    "255.255.255.255", "240.0.0.1", "10.244.1.7", "10.244.9.1", "::ffff:192.168.0.2", "fd99::9", "fd99::1", "fd99::20",
    "::", "::1", "ff02::1", "fe80::9", "fe80::9%eth0", "fd00:244::7", "192.168.0.2\n", " 192.168.0.2", "0300.0.0.1",
]  # fmt: skip
VTEPS = [str(OUR_VTEP), "02:00:00:02:00:02", "02:00:00:02:00:09", "00:00:00:00:00:00", "01:00:5e:00:00:01", "ff" * 6]
NAMES = ["attacker", "zzz", "node1 ", "no\nde", "\x1b[2Jnode", "\u202enode", "n" * 10_240, "", "node9", "config"]

junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
addresses = st.sampled_from(ADDRESSES) | junk
right = [json.loads(announcement(name, number) or "null") for name in BACKENDS for number in (2, 9)]
told = st.sampled_from(right) | junk
told |= st.fixed_dictionaries(
    {"VNI": st.sampled_from([1, 7, -1, 1 << 24, "1", 1.0]), "VtepMAC": st.sampled_from(VTEPS)},
    optional={"PublicKey": st.sampled_from(["", "A" * 44, "A" * 43 + "="]) | junk, "Port": st.integers(-1, 70_000)},
)
backends = st.sampled_from(["", "udp", "VXLAN", "x" * 5000, *(str(options["Type"]) for options in BACKENDS.values())])
offers = st.fixed_dictionaries({"BackendType": backends | junk}, optional={"BackendData": told, "BackendV6Data": told})
values = st.fixed_dictionaries(
    {"PublicIP": addresses, "PublicIPv6": addresses, "BackendType": backends | junk},
    optional={"BackendData": told, "BackendV6Data": told, "Offers": st.lists(offers | junk, max_size=10) | junk},
).map(json.dumps)
texts = values | st.text(max_size=40) | st.binary(max_size=40) | st.integers(0, 1200).map(lambda deep: "[" * deep)
rows = st.tuples(st.sampled_from(NAMES) | st.text(max_size=12), st.sampled_from(SUBNETS) | st.text(max_size=20), texts)


def claims(name: str, mode: str) -> st.SearchStrategy[tuple[str, str, str]]:
    """Leases that are right by themselves, and claim something of `node2`, of this node or of nobody."""
    whose = st.sampled_from([1, 2, 9])
    return st.builds(partial(claim, name, mode), st.sampled_from(["attacker", "zzz"]), whose, whose, whose)


def claim(name: str, mode: str, node: str, subnets: int, reached_at: int, told: int) -> tuple[str, str, str]:
    parts = [lease(number, [name], mode).endpoints for number in (subnets, reached_at, told)]
    endpoints = tuple(
        replace(endpoint, reach=replace(reach.reach, data=tells.reach.data))
        for endpoint, reach, tells in zip(*parts, strict=True)
    )
    made = replace(lease(subnets, [name], mode), node=node, endpoints=endpoints)
    return node, key(made.subnets), encode(made)


def read(rows: list[tuple[str, str, str | bytes]]) -> tuple[dict[str, Lease], dict[str, str]]:
    """The leases in these rows, and why the others are none: as every registry does it."""
    leases, rejected = dict[str, Lease](), dict[str, str]()
    for name, subnets, value in rows:
        try:
            leases[name] = decode(value, parse_key(subnets), name, None)
        except InputError as error:
            rejected[name] = str(error)
    return leases, rejected


@pytest.mark.parametrize("name, mode", CASES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_law_no_lease_harms_a_peer_that_stands(name: str, mode: str, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(rows | claims(name, mode), min_size=1, max_size=12))
    good = [lease(number, [name], mode) for number in (2, 3)]
    here = fabric(name, mode)
    here.update(good)
    stood = here.state
    hostile, unreadable = read(drawn)
    here.update([*good, *(one for one in hostile.values() if one.node not in ("node2", "node3"))])
    assert {"node2", "node3"} <= set(here.peers)
    assert diff(stood, here.state) == ()  # all that was there is there, as it was
    assert set(hostile) - {"node1"} <= {*here.peers, *here.rejected}
    assert set(here.rejected) <= set(hostile)
    parts = [item for way in here.peers.values() for item in way.objects]
    assert State([*fabric(name, mode).state, *parts]) == here.state  # raises where two cannot stand side by side
    restarted = fabric(name, mode, here.precedence)
    restarted.update([*hostile.values(), *good])
    assert set(restarted.peers) == set(here.peers)
    here.firewall(TrafficOptions(ip_masq=True))
    for told in [*here.rejected.values(), *unreadable.values()]:
        assert len(told) < 1000, told


@pytest.mark.parametrize("name, mode", CASES)
@settings(max_examples=15, deadline=None)
@given(drawn=st.lists(rows, max_size=12))
def test_law_what_was_let_in_goes_without_a_trace(
    name: str, mode: str, drawn: list[tuple[str, str, str | bytes]]
) -> None:
    here = fabric(name, mode)
    alone = here.state
    leases, _ = read(drawn)
    here.update(leases.values())
    here.update([])
    assert here.state == alone
    assert (dict(here.peers), dict(here.rejected), here.precedence) == ({}, {}, ())


@settings(deadline=None)
@given(rows)
@example(("node", "10.244.9.0-24", '{"BackendType":"' + "<" * 20_000 + '","PublicIP":"192.168.0.9"}'))
def test_law_what_is_read_can_be_written_and_read_again(row: tuple[str, str, str | bytes]) -> None:
    for name, found in read([row])[0].items():
        text = encode(found)
        if len(text) <= LONGEST:
            assert decode(text, parse_key(key(found.subnets)), name, None) == found


@pytest.mark.parametrize(
    "pattern",
    [
        '{"BackendData":%s,"PublicIP":"192.168.0.9"}',
        '{"PublicIP":%s}',
        '{"Offers":[{"BackendData":%s}],"PublicIP":"192.168.0.9"}',
        '{"BackendType":%s,"PublicIP":"\\u0031"}',
    ],
)
def test_a_value_nested_to_any_depth_is_read_or_refused(pattern: str) -> None:
    for deep in range(1, 1100):
        for nested in ("[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep):
            leases, rejected = read([("node9", "10.244.9.0-24", pattern % nested)])
            assert len(leases) + len(rejected) == 1
    assert "nested too deeply" in rejected["node9"]


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31mred", "\u202eedon", "n" * 254, "\ud800", "tab\there"])
def test_what_is_no_name_of_a_node_is_refused_at_the_door(name: str) -> None:
    with pytest.raises(InputError) as refusal:
        decode('{"PublicIP":"192.168.0.9"}', parse_key("10.244.9.0-24"), name, None)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


@settings(deadline=None)
@given(st.text(st.characters()), st.text(st.characters()))
def test_law_what_is_shown_stays_on_its_line_and_two_names_stay_two(one: str, other: str) -> None:
    for text in (one, one * 100):
        assert printable(text, LONGEST_NAME).isprintable()
    long = "n" * LONGEST_NAME
    assert (printable(long + one, LONGEST_NAME) == printable(long + other, LONGEST_NAME)) == (one == other)


def test_a_log_line_is_one_line_whatever_it_quotes() -> None:
    record = logging.LogRecord("nankeen.agent", logging.ERROR, "", 0, "lease of %s", ("a\n2026 error\x1b[2J\r",), None)
    line = _Formatter("%(level)s %(place)s: %(message)s").format(record)
    assert line == r"error agent: lease of a\n2026 error\x1b[2J\r"
