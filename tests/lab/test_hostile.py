"""A lease of bad intent in a lab: who looks at the lab is told of it, and nothing else is different."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from nankeen.lab import places
from nankeen.registry.doorbell import ring
from tests.lab.standing import network, run, standing

NAME = "\x1b[2J" + "a" * 10_000
VALUE = '{"PublicIP":"192.168.0.99","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:63"}}'


async def test_status_names_the_leases_that_nodes_refuse_and_finds_all_in_step() -> None:
    with standing(network({"Type": "vxlan"}, "ipv4")) as lab:
        claimed = (await lab.snapshot()).leases["node2"].subnets[0].network_address
        path = lab.lab.directory / places.REGISTRY
        rows = [("a", f"{claimed}-24", VALUE, None), (NAME, "10.244.99.0-24", VALUE, None)]
        with closing(sqlite3.connect(path)) as table, table:
            table.executemany("INSERT INTO lease (node, key, value, expires) VALUES (?, ?, ?, ?)", rows)
        ring(path)
        for node in ("node1", "node2"):
            await lab.told(node, lambda status: len(status.rejected) == 2)
        text = run("lab", "status", "--name", lab.lab.name)
        assert f"node1 refuses the lease of a: its subnet {claimed}/24 overlaps that of node2" in text
        assert f"node2 refuses the lease of a: its subnet {claimed}/24 overlaps that of node2" in text
        assert all(line.isprintable() and len(line) < 400 for line in text.splitlines())
        assert text.count("in step") == 2
        run("verify", "--name", lab.lab.name)  # it must succeed
