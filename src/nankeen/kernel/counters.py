"""What a network namespace counts of packets that go no further, by the names that `nstat` prints.

The kernel tells it as text, two lines for a group: names, then numbers (net/ipv4/proc.c); and for IPv6 a name and a
number in each line (net/ipv6/proc.c). The names are those of the IP group of SNMP (RFC 4293) and Linux' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from nankeen.kernel.namespace import Namespace, entered
from nankeen.model.errors import KernelError

_HERE = Path("/proc/thread-self/net")
_ENDS = (
    "InHdrErrors", "InAddrErrors", "InNoRoutes", "InUnknownProtos", "InDiscards", "InTruncatedPkts", "InTooBigErrors",
    "OutDiscards", "OutNoRoutes", "ReasmFails", "FragFails", "IPReversePathFilter",
)  # fmt: skip
"""Ends of the names of what is lost. What a packet filter drops is not among them: its rules count that, if asked."""


def discards(namespace: Namespace | None = None) -> dict[str, int]:
    """How many packets were lost for each reason since the namespace was made. Raises `KernelError`."""
    try:
        with entered(namespace):
            texts = {
                name: (_HERE / name).read_text() for name in ("snmp", "netstat", "snmp6") if (_HERE / name).exists()
            }
    except OSError as error:
        raise KernelError(
            f"cannot read counters: {error.strerror}", where=str(_HERE), errno=error.errno or 0
        ) from error
    found = [
        pair for name, text in texts.items() for pair in (_in_lines(text) if name == "snmp6" else _in_groups(text))
    ]
    return {name: number for name, number in found if name.endswith(_ENDS)}


def more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each has grown, of those that have."""
    grown = {name: number - before.get(name, 0) for name, number in after.items()}
    return {name: number for name, number in grown.items() if number > 0}


def _in_groups(text: str) -> Iterator[tuple[str, int]]:
    lines = text.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        group, *words = names.split()
        yield from zip((group.rstrip(":") + word for word in words), map(int, numbers.split()[1:]), strict=False)


def _in_lines(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, number = line.split()
        yield name, int(number)
