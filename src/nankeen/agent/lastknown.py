"""What a node remembers, on disk: the last known registry, to start with while that cannot be reached; the backends
that it ran, so that what they left in the kernel is known; and who its peers were: they still go before newcomers.

    {"config": …, "revision": 7, "leases": {"node2": [key, value, expires]}, "backends": [{"Type": "vxlan"}],
     "standing": ["node2"]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nankeen.agent.status import write_atomically
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease
from nankeen.model.leasevalue import decode, encode, key, parse_key
from nankeen.model.netconf import BackendConfig, NetworkConfig
from nankeen.registry import Snapshot


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was saved last, or will be next."""

    snapshot: Snapshot
    backends: tuple[BackendConfig, ...]
    """Those that the node ran, preferred first."""
    standing: tuple[Lease, ...] = ()
    """The peers, in the order of their precedence: see `nankeen.backend.admission.Gate`."""


def save(path: Path, remembered: Remembered) -> None:
    """Replaces the file. Raises `OSError`."""
    snapshot = remembered.snapshot
    document = {
        "config": json.loads(snapshot.config.to_json()),
        "revision": snapshot.revision,
        "leases": {node: (key(lease.subnets), encode(lease), lease.expires) for node, lease in snapshot.leases.items()},
        "backends": [backend.document() for backend in remembered.backends],
        "standing": [lease.node for lease in remembered.standing],
    }
    write_atomically(path, json.dumps(document), mode=0o600)


def load(path: Path) -> Remembered | None:
    """What was saved last; None where nothing was. A lease that cannot be read is left out, and told of as rejected.

    Raises `InputError` where the file is no such file.
    """
    try:
        return _remembered(json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError:
        return None
    except (ValueError, OverflowError, TypeError, KeyError, AttributeError, OSError) as error:
        raise InputError(f"not the last known leases: {error}", where=str(path), remedy="remove the file") from error


def _remembered(document: dict[str, Any], where: str) -> Remembered:
    config = NetworkConfig.parse(json.dumps(document["config"]), where)
    leases: dict[str, Lease] = {}
    rejected: dict[str, str] = {}
    for node, row in dict(document["leases"]).items():
        try:
            name, value, expires = row
            leases[node] = decode(value, parse_key(name), node, None if expires is None else float(expires))
        except (InputError, ValueError, TypeError) as error:
            rejected[node] = str(error)
    snapshot = Snapshot(config, leases, int(document["revision"]), rejected)
    backends = tuple(BackendConfig(str(item.pop("Type")), item) for item in document.get("backends", []))
    standing = tuple(leases[node] for node in document.get("standing", []) if node in leases)
    return Remembered(snapshot, backends, standing)
