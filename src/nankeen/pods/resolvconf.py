"""DNS settings out of a file like resolv.conf(5), as host-local passes them on."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from nankeen.cni.result import Dns

_MAX_BYTES = 1 << 16


def read(path: Path) -> Dns:
    """The file's settings. Raises `OSError`."""
    with path.open("rb") as file:
        return parse(file.read(_MAX_BYTES).decode(errors="replace"))


def parse(text: str) -> Dns:
    """From the file's text; lines that are not understood are left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in text.splitlines():
        words = line.strip().split()
        if len(words) > 1 and words[0][0] not in "#;":
            key, *values = words
            found[key] = [*found[key], *values] if key in ("nameserver", "options") else values
    return Dns(
        nameservers=tuple(found["nameserver"]),
        domain=" ".join(found["domain"][:1]),
        search=tuple(found["search"]),
        options=tuple(found["options"]),
    )
