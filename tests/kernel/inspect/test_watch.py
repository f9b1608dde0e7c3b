"""A watch of a network made by hand that is cut, healed and changed while it is watched.

Every change is made when a round is told, so that it lies between two rounds: nobody waits for a time to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nankeen.inspect.history import History
from nankeen.inspect.matrix import Cell, Grouping, Matrix
from nankeen.inspect.party import Cluster
from nankeen.inspect.selection import EVERYTHING, Selection
from nankeen.inspect.verify import verify
from nankeen.inspect.watch import PACE, Round, Summary, Watch, Wish
from nankeen.model.address import Family
from tests.kernel.inspect.conftest import HandMadeNetwork

SOON = 0.01
PATIENT = replace(PACE, waits=(0.05, 2.95))
"""Where other tests keep all processors busy an answer may take more than a second."""
SOCKETS = 2 * 4
"""Of a station in each family."""


@dataclass
class Told:
    """What one watch told: its rounds, and the matrix after each. `acts` are done after the first, second, … round."""

    acts: Sequence[Callable[[], None] | None] = ()
    rounds: list[Round] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    reasons: list[list[str]] = field(default_factory=list)
    summary: Summary | None = None

    def tell(self, found: Round, history: History) -> None:
        self.rounds.append(found)
        self.matrices.append(history.matrix(Grouping.PODS))
        self.reasons.append([trouble.reason for trouble in history.troubles()])
        act = self.acts[found.number - 1] if found.number <= len(self.acts) else None
        if act:
            act()

    def end(self, summary: Summary) -> None:
        self.summary = summary

    def cells(self, source: str, destination: str, family: Family = Family.IPV4) -> list[Cell | None]:
        """The cell of that pair, round by round."""
        return [matrix.cells.get((family, source, destination)) for matrix in self.matrices]

    def holds(self, source: str, destination: str, family: Family = Family.IPV4) -> list[bool | None]:
        return [cell.holds if cell else None for cell in self.cells(source, destination, family)]

    def path_mtus(self, source: str, destination: str, family: Family = Family.IPV4) -> list[int | None]:
        return [cell.path_mtu if cell else None for cell in self.cells(source, destination, family)]


async def watch(
    look: Callable[[], Cluster], *acts: Callable[[], None] | None, selection: Selection = EVERYTHING
) -> Told:
    """One round more than there are acts."""
    told = Told(acts)
    await Watch(Wish(selection, SOON, rounds=len(acts) + 1), lambda: (look(), ()), told, PATIENT).follow()
    return told


@pytest.fixture(autouse=True)
async def at_work(network: HandMadeNetwork) -> None:
    """Duplicate address detection is over, and neighbours know each other: a watch sends each probe only once."""
    assert (await verify(network.cluster())).holds


async def test_a_sound_network_holds_in_every_round(network: HandMadeNetwork) -> None:
    told = await watch(network.cluster, None, None)
    assert told.reasons == [[], [], []]
    assert all(cell.holds and cell.median and cell.path_mtu == 1500 for cell in told.matrices[-1].cells.values())
    assert told.summary is not None
    assert (told.summary.holds, told.summary.lost, told.summary.changes) == (True, 0, 0)


async def test_a_link_that_is_cut_and_healed_is_seen_in_the_rounds_between(network: HandMadeNetwork) -> None:
    def cut() -> None:
        network.firewall("node1", "filter hook forward", "oifname eth0 drop")

    def heal() -> None:
        network.execute("node1", "nft", "delete table inet t")

    told = await watch(network.cluster, cut, heal, None)
    assert told.holds("pod1", "pod2") == [True, False, True, True]
    assert [cell and cell.changed for cell in told.cells("pod1", "pod2")] == [False, True, True, False]
    assert told.holds("pod1", "pod3") == [True] * 4
    assert "expected an answer; no answer in 3.0 s" in told.reasons[1]
    assert told.summary is not None
    assert (told.summary.holds, told.summary.failed, told.summary.troubles) == (False, 1, ())


async def test_a_path_mtu_that_shrinks_is_measured_in_both_families_and_its_return_is_seen(
    network: HandMadeNetwork,
) -> None:
    def mtu(size: int) -> None:
        for node in ("node1", "node2"):
            network(node, f"link set eth0 mtu {size}")

    told = await watch(network.cluster, lambda: mtu(1400), None, lambda: mtu(1500))
    for family in Family:
        assert told.path_mtus("pod1", "pod2", family) == [1500, 1400, 1400, 1500]
        assert told.path_mtus("pod1", "pod3", family) == [1500] * 4
    assert [found.holds for found in told.rounds] == [True, False, False, True]


async def test_a_black_hole_for_large_packets_is_measured_to_the_byte_and_not_anew_each_round(
    network: HandMadeNetwork,
) -> None:
    def swallow() -> None:
        network.firewall("node1", "filter hook forward", "oifname eth0 meta length > 1357 drop")

    between = Selection(frozenset({"pod1"}), frozenset({"pod2"}))
    told = await watch(network.cluster, swallow, None, selection=between)
    assert told.path_mtus("pod1", "pod2") == [1500, 1357, 1357]
    assert told.reasons[2][0].endswith("no answer in 3.0 s; packets of up to 1357 bytes pass")


async def test_a_pod_that_comes_is_asked_and_one_that_goes_is_forgotten(network: HandMadeNetwork) -> None:
    whole = network.cluster()
    without = Cluster(whole.name, tuple(party for party in whole.parties if party.name != "pod3"))
    looks = iter([without, whole, without])
    told = await watch(lambda: next(looks), None, None)
    assert ["pod3" in matrix.names for matrix in told.matrices] == [False, True, False]
    assert told.holds("pod1", "pod3")[1]
    changed = told.cells("pod1", "pod3")[1]
    assert changed is not None
    assert changed.changed
    assert [found.holds for found in told.rounds] == [True] * 3


async def test_a_pod_whose_address_changes_is_asked_at_the_new_one(network: HandMadeNetwork) -> None:
    def move() -> None:
        network("pod3", "addr del 10.244.1.3/24 dev eth0", "addr add 10.244.1.9/24 dev eth0")
        network("pod3", "route add default via 10.244.1.1")

    told = await watch(network.cluster, move)
    assert told.holds("pod1", "pod3") == [True, True]
    assert not told.rounds[1].holds  # it is not the one that it was given


async def test_stations_stay_open_between_rounds_and_nothing_is_left_open_in_the_end(network: HandMadeNetwork) -> None:
    def descriptors() -> set[str]:
        return {f"{path.name} {path.readlink()}" for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}

    seen: list[set[str]] = []
    before = descriptors()
    await watch(network.cluster, *[lambda: seen.append({each for each in descriptors() if "socket:" in each})] * 3)
    assert len(seen[0] & seen[1] & seen[2]) >= SOCKETS * len(network.cluster().parties)
    assert descriptors() == before
