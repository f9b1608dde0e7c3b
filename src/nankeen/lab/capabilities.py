"""What a pod asks of its network besides an address, in the words of a command line, and as a runtime passes it on: the
arguments of capabilities (CNI conventions, "Dynamic Plugin specific fields").

    8080:80   192.168.0.11:8080:80/udp   [fd00::1]:53:53/udp      host ports
    100M   1.5G                                                  bits per second, both ways
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from nankeen.model.errors import InputError

Arguments = Mapping[str, Any]
"""By the name of the capability."""

_PUBLISHED = re.compile(
    r"(?:(?P<v4>[0-9.]+):|\[(?P<v6>[0-9a-fA-F:.]+)\]:)?(?P<host>[0-9]{1,5}):(?P<pod>[0-9]{1,5})"
    r"(?:/(?P<protocol>[a-z]{3,4}))?",
    re.ASCII,
)
_PROTOCOLS = ("tcp", "udp", "sctp")
_RATE = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?P<unit>[kMG]?)", re.ASCII)
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_BURST = 1 << 21
"""Bits that may go at once beyond the rate: more than the largest packet has that nobody has segmented yet."""


def arguments(published: Iterable[str] = (), bandwidth: str | None = None) -> Arguments:
    """Of all that is asked for. Raises `InputError`."""
    found: dict[str, Any] = {}
    if mappings := [_mapping(text) for text in published]:
        found["portMappings"] = mappings
    if bandwidth is not None:
        rate = _bits(bandwidth)
        found["bandwidth"] = {
            "ingressRate": rate, "ingressBurst": _BURST, "egressRate": rate, "egressBurst": _BURST
        }  # fmt: skip
    return found


def granted(asked: Arguments, plugin: Mapping[str, Any]) -> Arguments:
    """Those that the plugin has by its configuration: what it is given as `runtimeConfig`."""
    capabilities = plugin.get("capabilities") or {}
    return {name: value for name, value in asked.items() if capabilities.get(name)}


def _mapping(text: str) -> dict[str, Any]:
    found = _PUBLISHED.fullmatch(text)
    if found is None or (protocol := found["protocol"] or "tcp") not in _PROTOCOLS:
        raise InputError(f"{text!r:.60} is no host port", remedy="as 8080:80, 192.168.0.11:8080:80 or 53:53/udp")
    host_port, pod_port = int(found["host"]), int(found["pod"])
    if not (1 <= host_port <= 65_535 and 1 <= pod_port <= 65_535):
        raise InputError(f"{text!r:.60} is no host port", remedy="ports go from 1 to 65535")
    ports = {"hostPort": host_port, "containerPort": pod_port, "protocol": protocol}
    given = found["v4"] or found["v6"]
    if given is None:
        return ports
    try:
        return {**ports, "hostIP": str(ip_address(given))}
    except ValueError as error:
        raise InputError(f"{text!r:.60} is no host port: {error}") from error


def _bits(text: str) -> int:
    found = _RATE.fullmatch(text)
    rate = int(float(found["number"]) * _UNITS[found["unit"]]) if found else 0
    if rate < 1:
        raise InputError(f"{text!r:.60} is no rate", remedy="bits per second, as 100M, 1.5G or 64k")
    return rate
