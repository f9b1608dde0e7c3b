"""Which pairs are asked: those between named parties, all of them or a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product, zip_longest
from random import Random

from nankeen.inspect.nearest import unknown
from nankeen.inspect.party import Cluster, Kind, Party
from nankeen.model.errors import InputError
from nankeen.model.printable import printable


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of everything that could be."""

    sources: frozenset[str] = frozenset()
    """The names of those who ask; everybody where there are none."""
    destinations: frozenset[str] = frozenset()
    """The same of those who are asked."""
    sample: int | None = None
    """How many pods, and how many nodes, each asks; all where None."""
    seed: int = 0
    """What decides who is in the sample: the same parties and seed give the same sample."""

    @property
    def names(self) -> list[str]:
        """All that are named."""
        return sorted(self.sources | self.destinations)

    def check(self, cluster: Cluster) -> None:
        """Raises `InputError` where a name is none of the cluster's, or those that are named never ask each other."""
        kinds = {party.name: party.kind for party in cluster.parties}
        for name in self.names:
            if name not in kinds:
                raise unknown(name, kinds, "node or pod")
        named = [*product(self.sources, self.destinations)]
        if named and not any(one != other and Kind.POD in (kinds[one], kinds[other]) for one, other in named):
            problem = f"{_list(self.sources)} and {_list(self.destinations)} have nothing to ask each other"
            raise InputError(problem, remedy="name two parties, of which one is a pod")

    def sides(self, cluster: Cluster) -> tuple[Sequence[Party], Sequence[Party]]:
        """Who asks, and who is asked."""
        parties = cluster.parties if self.sample is None else _mixed(cluster.parties, self.seed)
        return (
            [party for party in parties if not self.sources or party.name in self.sources],
            [party for party in parties if not self.destinations or party.name in self.destinations],
        )

    def drawn(self, others: Sequence[Party], turn: int = 0) -> Sequence[Party]:
        """Of those whom a party could ask, the ones that it does ask at that turn."""
        if self.sample is None or self.sample >= len(others):
            return others
        start = turn * self.sample
        return [others[(start + number) % len(others)] for number in range(self.sample)]

    def concerns(self, party: Party) -> bool:
        """Whether the party may ask or be asked."""
        return any(not names or party.name in names for names in (self.sources, self.destinations))


EVERYTHING = Selection()


def _mixed(parties: Sequence[Party], seed: int) -> list[Party]:
    """In an order in which neighbours are on different nodes, as far as there are: a node's next ones are on others."""
    random = Random(seed)  # noqa: S311  (a sample is no secret)
    nodes = sorted({party.node for party in parties})
    random.shuffle(nodes)
    mixed: list[Party] = []
    for kind in Kind:
        homes = [[party for party in parties if (party.kind, party.node) == (kind, node)] for node in nodes]
        for home in homes:
            random.shuffle(home)
        mixed += (party for party in chain.from_iterable(zip_longest(*homes)) if party is not None)
    return mixed


def _list(names: Iterable[str]) -> str:
    return printable(", ".join(sorted(names)))
