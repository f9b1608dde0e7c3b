"""What a sample covers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nankeen.inspect.party import Cluster
from nankeen.inspect.plan import Pair


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much was asked of how much there was to ask."""

    seed: int
    """What draws the sample again."""
    pairs: int
    all_pairs: int
    asking: int
    """Nodes that asked, themselves or by a pod."""
    asked: int
    nodes: int
    ways: int
    """Of one node to another, in one direction."""
    all_ways: int

    def __str__(self) -> str:
        return (
            f"a sample: {self.pairs} of {self.all_pairs} pairs, {self.ways} of {self.all_ways} ways between nodes; "
            f"{self.asking} of {self.nodes} nodes ask, {self.asked} are asked; --seed {self.seed} draws it again"
        )


def coverage(cluster: Cluster, chosen: Collection[Pair], possible: Collection[Pair], seed: int) -> Coverage:
    """What the chosen ones of the possible pairs cover."""
    return Coverage(
        seed=seed,
        pairs=len(chosen),
        all_pairs=len(possible),
        asking=len({pair.source.node for pair in chosen}),
        asked=len({pair.destination.node for pair in chosen}),
        nodes=len(cluster.nodes),
        ways=len(_ways(chosen)),
        all_ways=len(_ways(possible)),
    )


def _ways(pairs: Collection[Pair]) -> set[tuple[str, str]]:
    ways = {(pair.source.node, pair.destination.node) for pair in pairs}
    return {(one, other) for one, other in ways if one != other}
