"""Prediction equals reality: what the state of all hosts says of a packet is what becomes of it, sound and damaged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from nankeen.forwarding import Unknown
from nankeen.model.address import Family
from tests.kernel.forwarding.damages import Damage, damages
from tests.kernel.forwarding.scene import PODS, Scene, Sent, inside, mismatches, scene, underlay


def _packets() -> list[Sent]:
    """From pods and nodes to all that there is, and to some that is not."""
    found = []
    for family in Family:
        places = [
            *(inside(*PODS[pod], family) for pod in PODS),
            *(inside(node, 1, family) for node in (1, 2)),
            *(underlay(number, family) for number in (1, 2, 9)),
            inside(2, 99, family), inside(1, 99, family), inside(7, 5, family),
        ]  # fmt: skip
        found += [Sent(host, to) for host, to in product(("pod1", "pod2", "node1", "lan"), places)]
        far = inside(*PODS["pod2"], family)
        near = inside(*PODS["pod3"], family)
        sizes = (1250, 1380, 1440, 2000)
        found += [Sent("pod1", far, size, dont_fragment=True) for size in sizes]
        # A sender that may fragment in IPv6 goes by the path MTU that it has learned, which is no part of the state.
        found += [Sent("pod1", far if family is Family.IPV4 else near, size) for size in sizes]
        found += [Sent("pod1", far, ttl=ttl) for ttl in (1, 2, 3)]
    return found


PACKETS = _packets()


def _damages(backend: str) -> list[Damage]:
    return [damage for damage in damages() if damage.only in ("", backend)]


@pytest.fixture(scope="module")
def vxlan() -> Iterator[Scene]:
    with scene("vxlan") as made:
        yield made


@pytest.fixture(scope="module")
def host_gw() -> Iterator[Scene]:
    with scene("host-gw") as made:
        yield made


@pytest.mark.parametrize("backend", ["vxlan", "host_gw"])
def test_a_sound_network_does_what_is_predicted_and_all_is_known(backend: str, request: pytest.FixtureRequest) -> None:
    wrong, walks = mismatches(request.getfixturevalue(backend), PACKETS)
    assert not wrong, "\n".join(wrong)
    assert not [found.end for found in walks.values() if isinstance(found.end, Unknown)]
    assert sum(found.delivered for found in walks.values()) > len(PACKETS) // 3


@pytest.mark.parametrize("damage", _damages("vxlan"), ids=str)
def test_a_damaged_overlay_does_what_is_predicted(vxlan: Scene, damage: Damage) -> None:
    _holds(vxlan, damage)


@pytest.mark.parametrize("damage", _damages("host-gw"), ids=str)
def test_a_damaged_network_without_an_overlay_does_what_is_predicted(host_gw: Scene, damage: Damage) -> None:
    _holds(host_gw, damage)


def _holds(made: Scene, damage: Damage) -> None:
    made.run(damage.host, damage.do)
    try:
        wrong, walks = mismatches(made, PACKETS)
    finally:
        made.run(damage.host, *damage.undo)
        made.forget()
    assert not wrong, "\n".join(wrong)
    assert not [found.end for found in walks.values() if isinstance(found.end, Unknown)]
