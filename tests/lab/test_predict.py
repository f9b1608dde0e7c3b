"""Random damage, random packets: what is predicted of them is what becomes of them.

A shorter run of `python -m bench.predict`, whose every mismatch says how to see it again.
"""

from __future__ import annotations

import os

import pytest

from bench.predict.arena import ARENAS, Arena
from bench.predict.damage import KINDS
from bench.predict.trial import trials

CASES, PER_ROUND = 150, 25
CHOSEN = [arena for arena in ARENAS if arena.publishes or arena.name == "two-switches/vxlan+DirectRouting/IPv4+IPv6"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: raw sockets in the namespaces of a lab")
@pytest.mark.parametrize("arena", CHOSEN, ids=lambda arena: arena.name)
def test_what_is_predicted_of_random_packets_in_a_damaged_lab_is_what_becomes_of_them(arena: Arena) -> None:
    *_, tally = trials([arena], seed=7, cases=CASES, per_round=PER_ROUND)
    assert not tally.mismatches, "\n".join(map(str, tally.mismatches))
    predicted = {what: sum(n for key, n in tally.cases.items() if key[2] == what) for what in ("delivered", "answered")}
    assert tally.count == CASES
    assert tally.unknown.total() < CASES // 20
    assert min(predicted.values()) > CASES // 5
    assert len({key[1] for key in tally.cases} & KINDS.keys()) >= 3
