"""Keeping subnets for a node, and what somebody should know who does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from nankeen.model.address import IPNetwork
from nankeen.model.errors import InputError
from nankeen.model.leasevalue import check_name
from nankeen.registry import Registry, Snapshot
from nankeen.registry.choice import words
from nankeen.registry.configuration import misfit


async def reserve(registry: Registry, node: str, subnets: Sequence[IPNetwork]) -> tuple[str, ...]:
    """Keeps these subnets for the node, or none any more; returns what may be otherwise than it was meant.

    Raises `InputError` for a subnet that no node could lease, `LeaseError` for one that another holds, and
    `RegistryError`.
    """
    check_name(node)
    snapshot = await registry.snapshot()
    for subnet in subnets:
        if why := misfit(snapshot.config, subnet):
            raise InputError(f"no node can lease {subnet}: {why}", remedy="see `nankeen config get`")
    await registry.reserve(node, subnets)
    return tuple(_doubts(snapshot, node, subnets))


def similar(name: str, snapshot: Snapshot) -> str:
    """The node whose name is most like another; "" where none is."""
    return next(iter(get_close_matches(name, [*snapshot.leases, *snapshot.reservations], 1)), "")


def _doubts(before: Snapshot, node: str, kept: Sequence[IPNetwork]) -> Iterator[str]:
    lease = before.leases.get(node)
    if not kept:
        if node not in before.reservations:
            yield _with_near("nothing was reserved for it", node, before)
    elif lease is None:
        if node not in before.reservations:
            yield _with_near("no node of that name has a lease yet", node, before)
    elif not set(kept) <= set(lease.subnets):
        yield f"{node} keeps {words(lease.subnets)} while that lease lasts"


def _with_near(doubt: str, node: str, before: Snapshot) -> str:
    near = similar(node, before)
    return f"{doubt}; did you mean {near}?" if near and near != node else doubt
