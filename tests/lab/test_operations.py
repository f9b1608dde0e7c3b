"""A lab's registry in an operator's hands: another configuration under traffic, a lease released under its node."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path

from tests.lab.standing import network, run, standing, undisturbed


async def test_a_configuration_is_set_by_a_command_and_no_packet_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "net-conf.json"
    file.write_text(json.dumps(network({"Type": "host-gw"})))
    with standing(network({"Type": "vxlan"})) as lab:
        async with undisturbed(lab):
            told = json.loads(run("config", "set", str(file), "--name", lab.lab.name, "--json"))
            assert (told["set"], told["stranded"]) == (True, [])
            await lab.leased(lambda lease: lease.backend == "host-gw" and not lease.offers)
        assert run("config", "get", "--name", lab.lab.name) == file.read_text() + "\n"


async def test_a_node_at_work_whose_lease_is_released_has_it_again() -> None:
    with standing(network({"Type": "vxlan"}, "ipv4")) as lab:
        held = (await lab.snapshot()).leases["node2"].subnets
        run("leases", "release", "node2", "--force", "--name", lab.lab.name)
        async with aclosing(lab.registry.watch()) as snapshots, asyncio.timeout(20):
            async for snapshot in snapshots:
                if "node2" in snapshot.leases:
                    break
        assert snapshot.leases["node2"].subnets == held
        await lab.in_step()
        listed = json.loads(run("leases", "--name", lab.lab.name, "--json"))
        assert [lease["node"] for lease in listed["leases"]] == ["node1", "node2"]


def test_inside_a_lab_the_registry_is_that_of_the_lab() -> None:
    with standing(network({"Type": "vxlan"}, "ipv4")) as lab:
        inside = [sys.executable, "-m", "nankeen", "leases"]
        table = run("lab", "exec", "--name", lab.lab.name, "node1", "--", *inside)
        assert [line.split()[0] for line in table.splitlines()[1:3]] == ["node1", "node2"]
