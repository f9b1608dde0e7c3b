"""A pod's port that somebody pulls out of its bridge, on a node whose agent looks after it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nankeen.kernel.namespace import Namespace
from tests.kernel.stream import seconds
from tests.lab.standing import Standing, network, standing


def port_of(lab: Standing) -> dict[str, Any]:
    """What `ip` tells of the port of the pod on node1."""
    shown = json.loads(lab.tool("node1", "ip -json -details link show type veth"))
    [port] = [item for item in shown if item.get("ifalias", "").startswith("nankeen cbr0 on cni0")]
    found: dict[str, Any] = port
    return found


@pytest.mark.parametrize("damage", ["ip link set PORT nomaster", "ip link delete cni0"])
async def test_it_is_put_back_as_it_was_and_the_pod_is_reached(damage: str) -> None:
    with standing(network({"Type": "vxlan"})) as lab:
        before = port_of(lab)
        lab.tool("node1", damage.replace("PORT", before["ifname"]))
        await lab.settled(lambda: port_of(lab).get("master") == "cni0")
        one, other = lab.pods
        with Namespace.open(one.namespaces.network) as source, Namespace.open(other.namespaces.network) as destination:
            seconds(source, destination, str(other.addresses[0].ip), 1000)
        after = port_of(lab)
        assert after["linkinfo"]["info_slave_data"]["hairpin"]
        assert after["ifalias"] == before["ifalias"]
