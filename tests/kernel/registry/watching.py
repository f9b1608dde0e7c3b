"""A node that only listens to a registry: it prints what it hears, a JSON document each line, until it is ended."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing

from nankeen.model.errors import RegistryError
from nankeen.registry.etcd import EtcdRegistry
from nankeen.registry.etcd_settings import parse


async def listen(address: str, patience: float) -> None:
    registry = EtcdRegistry(parse(address), patience=patience)
    while True:
        try:
            async with aclosing(registry.watch()) as snapshots:
                async for snapshot in snapshots:
                    tell({"leases": sorted(snapshot.leases)})
        except RegistryError as error:
            tell({"error": str(error)})
        await asyncio.sleep(0.05)


def tell(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(listen(sys.argv[1], float(sys.argv[2])))
