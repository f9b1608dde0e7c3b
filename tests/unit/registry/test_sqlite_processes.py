"""Agents that start in the same moment, each a process of its own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from ipaddress import ip_network
from itertools import chain
from pathlib import Path

import pytest

from nankeen.model.errors import LeaseError
from nankeen.registry.sqlite import SqliteRegistry, create
from tests.unit.registry.conftest import reach

PROCESSES = 10
ROUNDS = 5
AGENT = """
import asyncio, sys
from ipaddress import ip_address
from pathlib import Path
from nankeen.model.lease import Reach
from nankeen.registry.sqlite import SqliteRegistry

async def main(path, number, rounds):
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(rounds):
        registry = SqliteRegistry(Path(path))
        lease = await registry.acquire(f"node{number}-{turn}", "vxlan", [Reach(ip_address("10.99.0.1"))])
        registry.close()
        print(lease.subnets[0], flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def start(database: Path, number: int) -> Process:
    arguments = [sys.executable, "-c", AGENT, str(database), str(number), str(ROUNDS)]
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert process.stdout
    await process.stdout.readline()
    return process


async def finish(process: Process) -> list[str]:
    output, errors = await process.communicate(b"go\n")
    assert process.returncode == 0, errors.decode()
    return output.decode().split()


async def test_processes_that_race_for_a_pool_of_exactly_their_number_all_get_a_subnet_and_none_the_same(
    tmp_path: Path,
) -> None:
    database, wanted = tmp_path / "registry.db", PROCESSES * ROUNDS
    create(database, f'{{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.{wanted}.0"}}')
    processes = await asyncio.gather(*(start(database, number) for number in range(PROCESSES)))
    try:
        subnets = [*chain.from_iterable(await asyncio.gather(*map(finish, processes)))]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert sorted(map(ip_network, subnets)) == [ip_network(f"10.5.{number}.0/24") for number in range(1, wanted + 1)]
    registry = SqliteRegistry(database)
    assert len((await registry.snapshot()).leases) == wanted
    with pytest.raises(LeaseError, match=f"used up: {wanted} "):
        await registry.acquire("one-more", "vxlan", [reach("10.99.0.1")])
    registry.close()
