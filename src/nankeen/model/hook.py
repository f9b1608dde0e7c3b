"""Commands of an administrator, and what they do for a peer: the objects of the extension backend."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from nankeen.model.address import IPNetwork


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, executed as they are: no shell sees them."""

    arguments: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    """What the environment has besides the agent's own."""
    input: str = ""
    """What it reads on standard input."""

    @property
    def environment(self) -> Mapping[str, str]:
        return dict(self.variables)

    def __str__(self) -> str:
        return " ".join(self.arguments)


@dataclass(frozen=True, slots=True)
class Hook:
    """A peer, as commands see it: one has run for it, and another will when it goes."""

    peer: str
    """The peer's node name."""
    subnets: tuple[IPNetwork, ...]
    add: Command | None
    remove: Command | None

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (Hook, self.subnets)

    @property
    def device(self) -> str | None:
        return None

    def satisfied_by(self, observed: Hook) -> bool:
        return self == observed

    def __str__(self) -> str:
        return f"{self.peer} {' '.join(map(str, self.subnets))}: {self.add or 'no command'}"
