"""A walk from beginning to end, in surroundings that change while they are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from nankeen.inspect.walk import conduct as conduct_module
from nankeen.inspect.walk.conduct import conduct
from nankeen.inspect.walk.request import Request
from nankeen.inspect.walk.surroundings import Surroundings
from nankeen.lab import Lab
from nankeen.model.errors import InputError, KernelError
from tests.unit.inspect.walk.paper import surroundings

LAB = Lab("paper", Path("/nowhere"), rootless=False, network="{}")


class Changing:
    """Surroundings in which somebody changes something during the first looks."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.looks = 0

    @contextmanager
    def observed(self, _lab: Lab) -> Iterator[Surroundings]:
        self.looks += 1
        yield replace(surroundings(), changed=self._changed)

    def _changed(self) -> tuple[str, ...]:
        self.left -= 1
        return ("node1", "node2") if self.left >= 0 else ()


@pytest.mark.parametrize("times", [0, 1, 4])
def test_what_changes_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    there = Changing(times)
    monkeypatch.setattr(conduct_module, "observed", there.observed)
    report = conduct(LAB, Request("pod1", "pod2"), reverse=True, probe=False)
    assert there.looks == times + 1
    assert report.holds
    assert report.back is not None
    assert (report.back.story.source, report.back.story.destination) == ("pod2", "pod1")


def test_what_never_rests_is_given_up_with_those_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct_module, "observed", Changing(100).observed)
    with pytest.raises(KernelError, match="change faster than they can be read") as found:
        conduct(LAB, Request("pod1", "pod2"), probe=False)
    assert found.value.where == "node1, node2"


def test_a_packet_that_is_lost_has_no_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct_module, "observed", Changing(0).observed)
    report = conduct(LAB, Request("pod1", "10.244.9.9"), reverse=True, probe=False)
    assert report.back is None
    assert not report.holds


def test_what_cannot_be_asked_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct_module, "observed", Changing(0).observed)
    with pytest.raises(InputError, match="there is no such node, pod or address"):
        conduct(LAB, Request("pod1", "pod8"))
