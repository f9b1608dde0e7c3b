"""Surroundings on paper: two nodes and three pods, from the lines that `ip` prints."""

from __future__ import annotations

from nankeen.forwarding import Host, World
from nankeen.inspect.walk.surroundings import Role, Surroundings
from nankeen.model.address import IPAddress
from tests.unit.forwarding.cluster import cluster


def surroundings(family: int = 4, **hosts: Host) -> Surroundings:
    """The cluster of forwarding's tests, with other hosts in the place of some of its own."""
    return around(cluster(family, **hosts))


def around(world: World) -> Surroundings:
    """A world whose hosts are what their names say: pods, nodes, switches."""
    roles = {name: next((role for role in Role if name.startswith(role.value)), Role.NODE) for name in world.hosts}
    return Surroundings(world, roles, {name: _given(host) for name, host in world.hosts.items()})


def _given(host: Host) -> tuple[IPAddress, ...]:
    """Of a pod its own, of a node that of the underlay."""
    return tuple(
        address.interface.ip
        for address in host.tables.addresses.get("eth0", ())
        if not address.interface.ip.is_link_local
    )
