"""Surroundings on paper: two nodes and three pods, from the lines that `ip` prints.

`python -m tests.unit.inspect.walk.paper` draws the picture of the documents anew.
"""

from __future__ import annotations

from pathlib import Path

from nankeen.forwarding import Host, World
from nankeen.inspect.walk.account import Account, Report
from nankeen.inspect.walk.journey import predict
from nankeen.inspect.walk.picture import picture
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import tell
from nankeen.inspect.walk.surroundings import Role, Surroundings
from nankeen.model.address import IPAddress
from tests.unit.forwarding.cluster import cluster, pod
from tests.unit.forwarding.lines import host

PICTURE = Path(__file__).parents[4] / "docs/six-steps.svg"
"""The picture that the documents show."""


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


def example() -> Report:
    """The way that the documents show: from pod1 on node1 to pod2 on node2, over VXLAN."""
    there = surroundings(pod1=host("pod1", pod(1, 2)), pod2=host("pod2", pod(2, 2)))
    return Report(Account(tell(predict(there.world, question(Request("pod1", "pod2"), there)), there)))


if __name__ == "__main__":
    PICTURE.write_text(picture(example()), encoding="utf-8")
