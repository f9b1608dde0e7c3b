"""Parties for tests: pods and nodes that exist only as values."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from nankeen.inspect.party import Cluster, Kind, Party


def pod(
    number: int, addresses: str | None = None, *, assigned: str | None = None, mtu: int = 1450, on: int = 1
) -> Party:
    """Pod number i has the address 10.244.1.i unless it is told otherwise, and is on the node of that number."""
    held = tuple(map(ip_address, (f"10.244.1.{number}" if addresses is None else addresses).split()))
    given = held if assigned is None else tuple(map(ip_address, assigned.split()))
    return Party(f"pod{number}", Kind.POD, Path("/nowhere"), given, held, mtu, node=f"node{on}")


def node(number: int, addresses: str | None = None) -> Party:
    """Node number i has the address 192.168.0.i unless it is told otherwise; the first is its underlay address."""
    held = tuple(map(ip_address, (addresses or f"192.168.0.{number}").split()))
    return Party(f"node{number}", Kind.NODE, Path("/nowhere"), held[:1], held, node=f"node{number}")


def cluster(*parties: Party) -> Cluster:
    return Cluster("paper", parties)
