"""A report as a picture: SVG that is well formed, the same each time, and says what the story says."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from nankeen.inspect.walk.account import Account, Evidence, Report
from nankeen.inspect.walk.canvas import Canvas
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.journey import back, predict
from nankeen.inspect.walk.picture import picture
from nankeen.inspect.walk.proof import Proven, Verdict
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import tell
from tests.unit.forwarding.cluster import node, without
from tests.unit.forwarding.lines import host
from tests.unit.inspect.walk.paper import PICTURE, example, surroundings

_FILLS = re.compile(r"(?:^|[ }\n])\.?(text|paper|host|device|link|ip|transport|tunnel|payload) { fill: (#\w{6})")
_SVG = "{http://www.w3.org/2000/svg}"


def elements(svg: str, name: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{_SVG}{name}"))  # noqa: S314 (made here)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in elements(svg, "text")]


def report(destination: str = "pod2", *, broken: bool = False) -> Report:
    lines = without(node(1), "02:00:00:00:02:02 dev")
    there = surroundings(node1=host("node1", lines)) if broken else surroundings()
    return Report(Account(tell(predict(there.world, question(Request("pod1", destination), there)), there)))


def test_the_picture_of_the_documents_is_what_the_command_draws() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(example()), "python -m tests.unit.inspect.walk.paper"


def test_all_steps_hosts_and_devices_are_there_as_text() -> None:
    found = texts(picture(report()))
    steps = ["Container route", "Host route", "VXLAN encapsulation", "Second encapsulation", "UDP to the peer"]
    assert set(steps) < set(found)
    assert {"pod1", "node1", "node2", "pod2", "cni0", "flannel.1", "eth0"} < set(found)
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in found
    assert found[-1] == "✓ Delivered to 10.244.2.5 on pod2."


def test_the_same_report_is_the_same_picture() -> None:
    assert picture(report()) == picture(report())


def test_nothing_is_drawn_beside_the_paper() -> None:
    for found in (report(), report("pod3"), report("pod1"), report(broken=True)):
        svg = picture(found)
        width, height = map(float, ET.fromstring(svg).attrib["viewBox"].split()[2:])  # noqa: S314 (made here)
        for box in elements(svg, "rect")[1:]:
            x, y, wide, high = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + wide <= width
            assert y + high <= height
        assert all(float(text.attrib["y"]) <= height for text in elements(svg, "text"))


def test_a_packet_that_does_not_arrive_is_marked_where_it_ends() -> None:
    svg = picture(report(broken=True))
    bad = [text.text for text in elements(svg, "text") if "bad-text" in text.attrib["class"]]
    assert "(no such line)" in bad
    assert any(text and text.startswith("✗ Dropped by node1") for text in bad)
    assert "What to do: node1 lacks a forwarding entry for that peer" in " ".join(texts(svg))


def test_a_proof_is_drawn_at_the_devices() -> None:
    story = report("pod3").there.story
    proven = [Proven(point, Verdict.SEEN, point.packet, 10 + place) for place, point in enumerate(story.points)]
    proven[-1] = Proven(story.points[-1], Verdict.NOT_SEEN)
    evidence = Evidence(tuple(proven), False, Outcome.CONTRADICTED, "it did not arrive", "silence", 3, ())
    found = texts(picture(Report(Account(story, evidence))))
    assert {"✓ 10 µs", "✓ 11 µs", "✓ 12 µs", "✗ not seen"} < set(found)
    assert "✗ Predicted: delivered to 10.244.1.7 on pod3. Instead: silence." in found


def test_both_ways_are_in_one_picture() -> None:
    there = surroundings()
    journey = predict(there.world, question(Request("pod1", "pod2"), there))
    answer = back(there.world, journey)
    assert answer is not None
    found = texts(picture(Report(Account(tell(journey, there)), Account(tell(answer, there)))))
    assert found.count("UDP to the peer") == 2


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "a&b", '"><rect/>', "\x1b[2J\x00", "]]>"])
def test_whatever_something_is_called_it_is_only_text(evil: str) -> None:
    found = report().there.story
    steps = tuple(
        replace(step, tells=evil, decisions=tuple(replace(each, line=evil) for each in step.decisions))
        for step in found.steps
    )
    svg = picture(Report(Account(replace(found, steps=steps, destination=evil, end=evil))))
    assert len(elements(svg, "rect")) == len(elements(picture(report()), "rect"))
    assert not elements(svg, "script")
    assert "\x1b" not in svg
    assert "\x00" not in svg


def test_the_picture_is_readable_in_light_and_in_dark() -> None:
    """Text on its box has a contrast of 4.5 to 1 (WCAG 2.1, 1.4.3) in both schemes."""
    [style] = elements(Canvas(100, "colours").finished(10), "style")
    light, _, dark = (style.text or "").partition("@media (prefers-color-scheme: dark)")
    for scheme in (light, dark):
        fills = dict(_FILLS.findall(scheme))
        ink = fills.pop("text")
        assert len(fills) == 8
        assert all(contrast(ink, fill) >= 4.5 for fill in fills.values()), fills


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
