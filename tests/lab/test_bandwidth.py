"""A pod with limits in a whole cluster: what comes from another node, and goes there, keeps to them."""

from __future__ import annotations

from nankeen.kernel.namespace import Namespace
from nankeen.lab import find_lab
from tests.kernel.stream import seconds
from tests.lab.standing import network, run, standing

RATE = 16_000_000
"""Bits a second."""
BURST = 1 << 21
"""Bits: what the lab asks for beside a rate."""


def test_a_limited_pod_keeps_to_its_limits_across_nodes() -> None:
    """The tunnel's headers do not count: a pod's limit is one of its own packets."""
    with standing(network({"Type": "vxlan"})) as lab:
        name = lab.lab.name
        run("lab", "pod", "add", "--name", name, "--node", "node2", "--bandwidth", "16M")
        found = find_lab(name)
        free, limited = found.pod("pod1"), found.pods[-1]
        assert (free.node, limited.node) == ("node1", "node2")
        amount = 1_000_000
        least = (amount * 8 - BURST) / RATE
        with Namespace.open(free.namespaces.network) as one, Namespace.open(limited.namespaces.network) as other:
            for there, here in zip(limited.addresses, free.addresses, strict=True):
                assert seconds(one, other, str(there.ip), amount) >= least
                assert seconds(other, one, str(here.ip), amount) >= least
        port = lab.tool("node2", "ip -brief link show type ifb").split()[0]
        run("lab", "pod", "del", "--name", name, limited.name)
        assert port not in lab.tool("node2", "ip -brief link show")
