"""Rounds in one arena: a damage is done, packets are predicted, sent and looked for, and the damage is made good."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.predict.arena import Arena, Ring, ring
from bench.predict.damage import SOUND, Damage, drawn
from bench.predict.judge import mismatch
from bench.predict.packets import Case, Places
from bench.predict.repair import done, made_good
from bench.predict.wire import Fate, Wires
from nankeen.forwarding import Unknown, Walk, walk
from nankeen.lab.lab import LabNode, LabPod, LabRouter
from nankeen.model.errors import NankeenError

_QUIET = 0.25
"""Seconds without a packet after which those that are lost are taken for lost: longer than three questions of a
neighbour."""
_PATIENCE = 3.0
_PORTS = 50_000
_FIRST_PORT = 10_000
_FIRST_TAG = 0x6E00_0000
"""What no tunnel's header looks like."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A prediction that did not come true, also when the packet was sent alone."""

    arena: str
    damage: Damage
    case: Case
    seed: int
    round: int
    what: str

    def __str__(self) -> str:
        return f"{self.arena}, seed {self.seed} round {self.round}: {self.damage}\n    {self.case}\n    {self.what}"


@dataclass(slots=True)
class Tally:
    """What came of many cases."""

    cases: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By arena, damage and what was predicted."""
    mismatches: list[Mismatch] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    """Why nothing was predicted."""
    refused: Counter[str] = field(default_factory=Counter)
    """Damages that could not be done, by kind."""
    rebuilt: Counter[str] = field(default_factory=Counter)
    """Why a lab was built anew."""

    @property
    def count(self) -> int:
        return self.cases.total()


class Trial:
    """Rounds in an arena that stands."""

    def __init__(self, ring: Ring, seed: int, tally: Tally) -> None:
        self._ring = ring
        self._seed = seed
        self._tally = tally
        self._wires = Wires(ring.namespaces, ring.arena.families)
        self._number = 0
        self._sound = ring.world()
        kinds = LabPod | LabNode | LabRouter
        self._hosts = tuple(member.name for member in ring.lab.members if isinstance(member, kinds))
        self._places = Places(self._sound, self._hosts, ring.arena.families)

    def round(self, number: int, count: int) -> None:
        """One damage, and so many packets. Raises `NankeenError` where the arena cannot be made good again."""
        chance = random.Random(f"{self._seed} {self._ring.arena.name} {number}")  # noqa: S311  (no keys)
        damage = self._damaged(chance)
        try:
            cases = sorted((self._places.drawn(chance) for _ in range(count)), key=_teaches)
            self._judge(number, damage, cases)
        finally:
            missing = made_good(self._ring, damage, self._sound)
        self._ring.forget()
        if missing:
            raise NankeenError(f"not made good: {'; '.join(missing)}", where=str(damage))

    def _damaged(self, chance: random.Random) -> Damage:
        if chance.random() < 0.05:
            return SOUND
        while True:
            damage = drawn(chance, self._sound, (*self._hosts, *(each.name for each in self._ring.lab.switches)))
            try:
                done(self._ring, damage)
            except NankeenError:
                self._tally.refused[damage.kind] += 1
                made_good(self._ring, Damage(damage.kind, damage.host), self._sound)  # nothing came of it
                continue
            self._ring.hurry(damage.host)
            return damage

    def _judge(self, number: int, damage: Damage, cases: Sequence[Case]) -> None:
        for case, walked, wrong in self._compared(cases):
            again = [what for _, _, what in self._alone(case) if what] if wrong else []
            self._tally.cases[self._ring.arena.name, damage.kind, type(walked.end).__name__.lower()] += 1
            if isinstance(walked.end, Unknown):
                self._tally.unknown[walked.end.detail] += 1
            self._tally.mismatches += [
                Mismatch(self._ring.arena.name, damage, case, self._seed, number, what) for what in again
            ]

    def _alone(self, case: Case) -> Sequence[tuple[Case, Walk, str | None]]:
        """The case once more, when no other packet has changed what hosts know of each other."""
        self._ring.forget()
        return self._compared([case])

    def _compared(self, cases: Sequence[Case]) -> Sequence[tuple[Case, Walk, str | None]]:
        world = self._ring.world()
        numbers = [self._next() for _ in cases]
        walks = [
            walk(world, case.packet(_port(_FIRST_TAG + number)), case.host)
            for case, number in zip(cases, numbers, strict=True)
        ]
        fates = {_FIRST_TAG + number: Fate() for number in numbers}
        for case, (tag, fate) in zip(cases, fates.items(), strict=True):
            fate.errno = self._wires.send(case, _port(tag), tag)
        self._hear(fates)
        return [
            (case, walked, mismatch(world, case, walked, fate))
            for case, walked, fate in zip(cases, walks, fates.values(), strict=True)
        ]

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _hear(self, fates: Mapping[int, Fate]) -> None:
        """Until nothing more comes."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if not self._wires.hear(fates, _QUIET):
                return

    def close(self) -> None:
        self._wires.close()


def _port(tag: int) -> int:
    """The source port, or identifier, of the packet with that tag: no flow comes twice."""
    return _FIRST_PORT + tag % _PORTS


def _teaches(case: Case) -> tuple[int, bool, int]:
    """Packets that a sender may fragment come first, before errors about others teach it how large they may be."""
    return case.to.version, case.dont_fragment, case.payload


def trials(arenas: Sequence[Arena], seed: int, cases: int, per_round: int = 100) -> Iterator[Tally]:
    """Yields the tally again after each round: the same object. The cases are shared out evenly to the arenas."""
    tally = Tally()
    for place, arena in enumerate(arenas, 1):
        number = 0
        while tally.count < cases * place // len(arenas):
            with ring(arena) as made:
                trial = Trial(made, seed, tally)
                try:
                    while tally.count < cases * place // len(arenas):
                        number += 1
                        trial.round(number, min(per_round, cases * place // len(arenas) - tally.count))
                        yield tally
                except NankeenError as error:
                    tally.rebuilt[str(error)] += 1
                    yield tally
                finally:
                    trial.close()
