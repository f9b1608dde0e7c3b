"""The last known registry, on disk: what a node starts with while the registry cannot be reached.

{"config": "net-conf.json's text", "revision": 7, "leases": {"node1": [key, value, expires]}}
"""

from __future__ import annotations

import json
from pathlib import Path

from nankeen.agent.status import write_atomically
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import decode, encode, key, parse_key
from nankeen.model.netconf import NetworkConfig
from nankeen.registry import Snapshot


def save(path: Path, snapshot: Snapshot) -> None:
    """Replaces the file. Raises `OSError`."""
    leases = {node: (key(lease.subnets), encode(lease), lease.expires) for node, lease in snapshot.leases.items()}
    document = {"config": snapshot.config.to_json(), "revision": snapshot.revision, "leases": leases}
    write_atomically(path, json.dumps(document), mode=0o600)


def load(path: Path) -> Snapshot | None:
    """What was saved last; None where nothing was. A lease that cannot be read is left out, and told of as rejected.

    Raises `InputError` where the file is no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        config = NetworkConfig.parse(document["config"], str(path))
        rows, revision = dict(document["leases"]), int(document["revision"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(f"not the last known leases: {error}", where=str(path), remedy="remove the file") from error
    leases: dict[str, Lease] = {}
    rejected: dict[str, str] = {}
    for node, row in rows.items():
        try:
            name, value, expires = row
            leases[node] = decode(value, parse_key(name), node, None if expires is None else float(expires))
        except (InputError, ValueError, TypeError) as error:
            rejected[node] = str(error)
    return Snapshot(config, leases, revision, rejected)
