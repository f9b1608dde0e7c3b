"""What holds of every walk, whatever hosts have lost and whatever is asked: it is told to its end, and can be shown."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen.forwarding import Delivered, Host, Unknown
from nankeen.inspect.walk.account import Account, Report
from nankeen.inspect.walk.document import document
from nankeen.inspect.walk.journey import Journey, predict
from nankeen.inspect.walk.picture import picture
from nankeen.inspect.walk.request import Protocol, Request, question
from nankeen.inspect.walk.story import Story, tell
from nankeen.inspect.walk.text import lines
from tests.unit.forwarding.cluster import node, pod
from tests.unit.forwarding.lines import host
from tests.unit.inspect.walk.paper import surroundings

TEXTS = {"node1": node(1), "node2": node(2), "pod1": pod(1, 5), "pod2": pod(2, 5), "pod3": pod(1, 7)}
REMOVABLE = [
    (name, line)
    for name, text in TEXTS.items()
    for line in text.split("\n")
    if line and not line.startswith(("eth0:", "cni0:", "veth", "inet 192.168", "inet 10.244"))
]
"""Lines of kernels, but for devices and addresses: without those a name stands for nothing."""
EXTRA = [
    ("node1", "blackhole 10.244.2.0/25"),
    ("node1", "10.244.2.5/32 via 10.244.1.7 dev cni0"),
    ("node1", "10.244.0.0/16 via 192.168.0.12 dev eth0"),
    ("node2", "10.244.2.5/32 via 192.168.0.11 dev eth0"),
    ("node2", "10.244.0.0/16 via 10.244.1.0 dev flannel.1 onlink"),
    ("pod1", "10.244.2.0/24 via 10.244.1.7 dev eth0"),
    ("pod3", "net.ipv4.ip_forward = 1"),
]
ENDS = ["pod1", "pod2", "pod3", "node1", "node2"]
OTHERS = ["10.244.2.0", "10.244.2.255", "10.244.9.9", "192.168.0.99", "198.51.100.7", "127.0.0.1", "255.255.255.255"]


lost = st.sets(st.sampled_from(REMOVABLE), max_size=3)
got = st.sets(st.sampled_from(EXTRA), max_size=2)
requests = st.builds(
    Request,
    st.sampled_from(ENDS),
    st.sampled_from(ENDS + OTHERS),
    st.sampled_from(Protocol),
    size=st.sampled_from([None, 1400, 1450, 1451, 1500, 9000]),
    ttl=st.sampled_from([1, 2, 64]),
    fragment=st.booleans(),
)


def walked(gone: set[tuple[str, str]], more: set[tuple[str, str]], request: Request) -> tuple[Journey, Story]:
    """With a packet, among hosts that have lost some lines and got others."""
    hosts: dict[str, Host] = {}
    for name, text in TEXTS.items():
        added = [line for other, line in more if other == name]
        names = {line.partition(" = ")[0] for line in added}
        kept = [line for line in text.split("\n") if (name, line) not in gone and line.partition(" = ")[0] not in names]
        hosts[name] = host(name, "\n".join([*kept, *added]))
    there = surroundings(4, **hosts)
    journey = predict(there.world, question(request, there))
    return journey, tell(journey, there)


@settings(max_examples=60, deadline=None)
@given(lost, got, requests)
def test_every_decision_and_every_device_is_told_once_and_in_order(
    gone: set[tuple[str, str]], more: set[tuple[str, str]], request: Request
) -> None:
    journey, story = walked(gone, more, request)
    assert [place for step in story.steps for place in step.points] == list(range(len(journey.points)))
    hops = [hop.line for hop in journey.walk.hops]
    told = [decision.line for step in story.steps for decision in step.decisions]
    assert len(hops) <= len(told) <= len(hops) + 1
    assert all(step.after == following.before for step, following in zip(story.steps, story.steps[1:], strict=False))


@settings(max_examples=60, deadline=None)
@given(lost, got, requests)
def test_what_does_not_arrive_says_why_and_what_to_do(
    gone: set[tuple[str, str]], more: set[tuple[str, str]], request: Request
) -> None:
    journey, story = walked(gone, more, request)
    assert story.arrives is isinstance(journey.end, Delivered)
    assert bool(story.remedy) is not (story.arrives or isinstance(journey.end, Unknown))
    assert "{" not in story.remedy
    failing = [step for step in story.steps if step.fails]
    assert failing in ([], [story.steps[-1]] if story.steps else [])
    assert not (failing and story.arrives)


@settings(max_examples=40, deadline=None)
@given(lost, got, requests, st.integers(1, 160))
def test_it_can_be_shown_in_every_way(
    gone: set[tuple[str, str]], more: set[tuple[str, str]], request: Request, width: int
) -> None:
    _, story = walked(gone, more, request)
    account = Account(story)
    for line in lines(account, width, explain=True):
        text = "".join(piece.text for piece in line)
        assert text.isprintable()
        assert len(text) <= max(width, 40)
    assert json.dumps(document(Report(account), explain=True))
    assert ET.fromstring(picture(Report(account))) is not None  # noqa: S314 (made here)
