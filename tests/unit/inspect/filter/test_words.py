"""A filter's words: what they say, and where they are wrong."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.filter import Expression, parse
from nankeen.inspect.filter.expression import And, InNetwork, Is, Kind, Level, Not, OnPort, Or, Side
from nankeen.inspect.filter.words import DEEPEST, KEYWORDS, LONGEST
from nankeen.model.errors import InputError

POD1 = InNetwork((ip_network("10.244.1.2/32"),))
TCP, UDP, ARP = Is(Kind.TCP), Is(Kind.UDP), Is(Kind.ARP)
NAMES = {"pod1": (ip_address("10.244.1.2"), ip_address("fd00::2")), "node1": (ip_address("192.168.0.11"),)}


@pytest.mark.parametrize(
    "text, meant",
    [
        ("host 10.244.1.2", POD1),
        ("src 10.244.1.2", InNetwork(POD1.networks, Side.SOURCE)),
        ("dst host 10.244.1.2", InNetwork(POD1.networks, Side.DESTINATION)),
        ("net 10.244.0.0/16", InNetwork((ip_network("10.244.0.0/16"),))),
        ("src fd00::/48", InNetwork((ip_network("fd00::/48"),), Side.SOURCE)),
        ("host pod1", InNetwork((ip_network("10.244.1.2/32"), ip_network("fd00::2/128")))),
        ("port 80", OnPort(((80, 80),))),
        ("dst port 8000-8080", OnPort(((8000, 8080),), Side.DESTINATION)),
        ("tcp port 80", OnPort(((80, 80),), Side.EITHER, Kind.TCP)),
        ("udp src port 53", OnPort(((53, 53),), Side.SOURCE, Kind.UDP)),
        ("http", OnPort(((80, 80), (8000, 8000), (8080, 8080)), Side.EITHER, Kind.TCP)),
        ("tcp and udp or arp", Or(And(TCP, UDP), ARP)),
        ("tcp and (udp or arp)", And(TCP, Or(UDP, ARP))),
        ("tcp || udp && arp", Or(TCP, And(UDP, ARP))),
        ("not tcp and udp", And(Not(TCP), UDP)),
        ("!(tcp or udp)", Not(Or(TCP, UDP))),
        ("inner tcp", Is(Kind.TCP, Level.INNER)),
        ("inner (tcp and not udp)", And(Is(Kind.TCP, Level.INNER), Not(Is(Kind.UDP, Level.INNER)))),
        ("outer tcp and udp", And(Is(Kind.TCP, Level.OUTER), UDP)),
    ],
)
def test_words_say(text: str, meant: Expression) -> None:
    assert parse(text, NAMES) == meant


@pytest.mark.parametrize(
    "text, problem, at, length",
    [
        ("hots 10.0.0.1", "'hots': no word of a filter; did you mean host", 0, 4),
        ("tcp and prot 80", "'prot': no word of a filter; did you mean port", 8, 4),
        ("tcp udp", "'udp': unexpected; join terms with and, or", 4, 3),
        ("tcp and", "it ends too early; a term is missing", 7, 1),
        ("", "it ends too early", 0, 1),
        ("(tcp or udp", r"it ends too early; \) is missing at its end", 11, 1),
        ("tcp)", r"'\)': unexpected", 3, 1),
        ("port 70000", "'70000': not a port", 5, 5),
        ("port 90-80", "'90-80': not a port", 5, 5),
        ("host 10.0.0.0/8", "'10.0.0.0/8': not a host; write net before a network", 5, 10),
        ("host pod", "'pod': neither an address nor a name; did you mean pod1", 5, 3),
        ("host 10.0.0.300", "'10.0.0.300': neither an address nor a name; write it as 10.99.0.1", 5, 10),
        ("net 10.0.0.0", "'10.0.0.0': not a network; write it as 10.5.0.0/16", 4, 8),
        ("inner (tcp or outer udp)", "'outer': contradicts the inner before it", 14, 5),
        ("tcp src 10.0.0.1", "'10.0.0.1': unexpected; write port there", 8, 8),
        ("tcp & udp", "'&': unexpected", 4, 1),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str, at: int, length: int) -> None:
    with pytest.raises(InputError, match=f"filter: {problem}") as caught:
        parse(text, NAMES)
    _, shown, caret = caught.value.remedy.splitlines()
    assert shown == f"    {text}"
    assert caret == "    " + " " * at + "^" * length


def test_what_cannot_be_printed_is_not() -> None:
    with pytest.raises(InputError) as caught:
        parse("\x1b[2J\x07 tcp")
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)


def test_endless_brackets_and_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="too deep"):
        parse("not " * (DEEPEST + 1) + "tcp")
    with pytest.raises(InputError, match="too deep"):
        parse("(" * 500 + "tcp")
    with pytest.raises(InputError, match=f"more than {LONGEST}"):
        parse("tcp or " * 1000 + "tcp")


@given(st.lists(st.sampled_from(sorted(KEYWORDS | {"10.0.0.1", "80", "fd00::/8", "x"})), max_size=12).map(" ".join))
def test_any_words_are_a_filter_or_an_error(text: str) -> None:
    with suppress(InputError):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_an_error_that_can_be_shown(text: str) -> None:
    found = ""
    try:
        parse(text)
    except InputError as error:
        found = str(error)
    assert all(mark.isprintable() or mark == "\n" for mark in found)
