"""Allocation only: nodes get subnets, and somebody else carries the packets between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nankeen.backend import Node
from nankeen.model.address import HardwareAddress
from nankeen.model.gojson import Fields
from nankeen.model.lease import Lease, Reach
from nankeen.model.state import Object, State

NAME = "alloc"


@dataclass(frozen=True, slots=True)
class AllocBackend:
    """It has no options. See `nankeen.backend.Backend` for what the methods promise."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return ""  # as flannel

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def devices(self, node: Node) -> frozenset[str]:  # noqa: ARG002  (it makes none)
        return frozenset()

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (it makes none)
        return {}

    def mtu(self, node: Node) -> int:
        return node.underlay.mtu

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        return tuple(Reach(node.public_address(family)) for family in node.families)

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (it has no devices)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:  # noqa: ARG002  (whoever they are)
        return State()

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (whoever it is)
        return ()

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (its own affair)
        return ()


def parse(options: Fields) -> AllocBackend:  # noqa: ARG001  (there are none)
    """The backend; it takes whatever options are written."""
    return AllocBackend()
