"""An account as people read it: a tree that is as wide as it may be, with nothing in it that moves a cursor."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nankeen.forwarding import Passage
from nankeen.inspect.walk.account import Account, Evidence
from nankeen.inspect.walk.difference import Difference
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.journey import predict
from nankeen.inspect.walk.proof import Proven, Verdict
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import Story, tell
from nankeen.inspect.walk.text import NARROWEST, Tone, drawn, lines
from tests.unit.forwarding.cluster import node, without
from tests.unit.forwarding.lines import host
from tests.unit.inspect.walk.paper import surroundings

BROKEN = host("node1", without(node(1), "02:00:00:00:02:02 dev"))


def story(destination: str = "pod2", *, broken: bool = False) -> Story:
    there = surroundings(node1=BROKEN) if broken else surroundings()
    return tell(predict(there.world, question(Request("pod1", destination), there)), there)


def shown(account: Account, width: int = 100, *, explain: bool = False) -> list[str]:
    return ["".join(piece.text for piece in line) for line in lines(account, width, explain=explain)]


def seen(found: Story, *others: Proven) -> Evidence:
    """Everywhere as predicted, but for the last points."""
    kept = found.points[: len(found.points) - len(others)]
    proven = tuple(Proven(point, Verdict.SEEN, point.packet, place) for place, point in enumerate(kept))
    return Evidence((*proven, *others), not others, Outcome.CONFIRMED, "pod2 answers", "", None, ())


def test_a_step_shows_its_table_its_meaning_and_its_packet() -> None:
    text = shown(Account(story()))
    assert text[0] == "pod1 10.244.1.5 → pod2 10.244.2.5: ICMP echo request, 84 bytes, ttl 64, DF"
    place = text.index("├─ 2. Host route  on node1")
    assert text[place + 1 : place + 4] == [
        "│     $ ip route  10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        "│     All of 10.244.2.0/24 is behind flannel.1, next hop 10.244.2.0.",
        "│     packet: Ethernet | IPv4 | ICMP  →  IPv4 | ICMP",
    ]
    assert text[-1] == "└─ ✓ Delivered to 10.244.2.5 on pod2 (predicted; no probe was sent)."


@pytest.mark.parametrize("width", [1, NARROWEST, 60, 72, 80, 100, 200])
def test_no_line_is_wider_than_it_may_be(width: int) -> None:
    found = story(broken=True)
    for account in (Account(found), Account(found, seen(found))):
        assert max(map(len, shown(account, width, explain=True))) <= max(width, NARROWEST)


def test_a_packet_in_a_packet_is_a_box_in_a_box() -> None:
    assert drawn(story().steps[3].after) == [
        "┌────────────────────────────────────────────────────────────────┐",
        "│ IPv4      20 bytes  192.168.0.11 → 192.168.0.12 ttl 64         │",
        "│ UDP        8 bytes  destination port 8472                      │",
        "│ VXLAN      8 bytes  VNI 1                                      │",
        "│ ┌────────────────────────────────────────────────────────────┐ │",
        "│ │ Ethernet  14 bytes  02:00:00:00:02:01 → 02:00:00:00:02:02  │ │",
        "│ │ IPv4      20 bytes  10.244.1.5 → 10.244.2.5 ttl 63 DF      │ │",
        "│ │ ICMP       8 bytes  echo request                           │ │",
        "│ │ payload   56 bytes                                         │ │",
        "│ └────────────────────────────────────────────────────────────┘ │",
        "└────────────────────────────────────────────────────────────────┘",
    ]


def test_a_box_grows_with_its_addresses_and_says_where_they_are_cut() -> None:
    there = surroundings(6)
    wrapped = tell(predict(there.world, question(Request("pod1", "pod2"), there)), there).steps[3].after
    row = "IPv6      40 bytes  fd44:0:0:1::5 → fd44:0:0:2::5 hop limit 63"
    assert f"│ │ {row} │ │" in drawn(wrapped, 100)
    assert f"│ │ {row[:57]}… │ │" in drawn(wrapped, 66)
    assert {len(line) for line in drawn(wrapped, 66)} == {66}


def test_a_table_without_a_line_says_so_and_what_to_do() -> None:
    text = shown(Account(story(broken=True)), 200)
    assert "│     $ bridge fdb show dev flannel.1  (no such line)" in text
    assert text[-2].startswith("└─ ✗ Dropped by node1: no forwarding entry of flannel.1 for 02:00:00:00:02:02 (pred")
    assert text[-1].startswith("   What to do: node1 lacks a forwarding entry for that peer: its agent writes it")


def test_each_point_says_when_the_probe_was_seen_there() -> None:
    found = story("pod3")
    text = shown(Account(found, seen(found)))
    assert "│     ✓ pod1:eth0 out 0 µs   ✓ node1:veth1 in 1 µs" in text
    ending = " ".join(text[-2:])
    assert "✓ Delivered to 10.244.1.7 on pod3, and so it was: pod2 answers. The probe was seen at 4 of" in ending


def test_where_prediction_and_reality_part_is_said_first_and_what_happened_instead() -> None:
    found = story("pod3")
    last = found.points[-1]
    differing = Proven(last, Verdict.DIFFERS, last.packet, 9, (Difference("TTL", "64", "63"),))
    evidence = replace(
        seen(found, differing), first=3, instead="TTL 63 instead of 64", decisions=(found.steps[1].decision,)
    )
    text = shown(Account(found, evidence))
    assert "│     ✓ node1:veth3 out 2 µs   ≠ pod3:eth0 in 9 µs, TTL 63 instead of 64" in text
    ending = " ".join(line.strip() for line in text[text.index("│", len(text) - 8) :])
    assert "✗ Predicted: delivered to 10.244.1.7 on pod3. The probe did otherwise." in ending
    assert "The first difference is at pod3:eth0 in: seen, and differs." in ending
    assert "Instead: TTL 63 instead of 64." in ending
    assert "One of these came out otherwise: node1: $ bridge fdb show br cni0" in ending


def test_nothing_that_a_name_holds_reaches_the_terminal_as_it_is() -> None:
    found = story()
    point = found.points[0]
    evil = "eth0\x1b[2J\n"
    points = (Passage(point.host, evil, point.direction, point.packet), *found.points[1:])
    steps = tuple(
        replace(step, decisions=tuple(replace(each, line=f"{each.line} dev {evil}") for each in step.decisions))
        for step in found.steps
    )
    account = Account(replace(found, points=points, steps=steps, destination=evil, end=f"delivered by {evil}"))
    evidence = seen(replace(found, points=points))
    for text in (shown(account), shown(replace(account, evidence=evidence))):
        assert all(line.isprintable() for line in text)


def test_a_learner_is_told_why_each_table_is_asked() -> None:
    plain, explained = shown(Account(story())), " ".join(shown(Account(story()), explain=True))
    assert "VTEP, an end of a VXLAN tunnel" not in " ".join(plain)
    assert "VTEP, an end of a VXLAN tunnel" in explained


def test_what_fails_is_marked_as_bad_and_what_decides_as_the_line() -> None:
    pieces = [piece for line in lines(Account(story(broken=True)), 100) for piece in line]
    assert next(piece.text for piece in pieces if piece.tone is Tone.LINE) == "default via 10.244.1.1 dev eth0"
    assert next(piece.text for piece in pieces if piece.tone is Tone.BAD) == "(no such line)"
