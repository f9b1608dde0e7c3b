"""An agent that is killed in a loop, and runtimes that forget: the short form of `./nk bench soak.cni`."""

from __future__ import annotations

from bench.churn import churn
from tests.lab.standing import network, standing


async def test_nothing_is_left_of_pods_however_often_the_agent_is_killed() -> None:
    with standing(network({"Type": "vxlan"}), {"node1": {"kind": "node"}}) as lab:
        outcome = await churn(lab.lab, pods=60)
    assert outcome.faults == []
    assert outcome.kills > 1
    assert outcome.added > 60
