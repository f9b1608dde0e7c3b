"""A routing table on paper, written as `ip route` prints it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nankeen.backend.routing import RouteTable
from nankeen.model.state import PROTOCOL_BOOT, Route

ON_LINK = ("10.99.0.0/24 dev eth0", "fd99::/64 dev eth0")
"""The underlay of `fabric`, all of it on one link."""


def table(*lines: str) -> RouteTable:
    return RouteTable(map(route, lines))


def route(line: str) -> Route:
    """From `10.99.0.0/24 via 10.98.0.1 dev eth0 metric 7`; `default` is that of IPv4."""
    destination, *rest = line.split()
    words = dict(zip(rest[::2], rest[1::2], strict=True))
    return Route(
        ip_network("0.0.0.0/0" if destination == "default" else destination),
        words["dev"],
        ip_address(words["via"]) if "via" in words else None,
        metric=int(words["metric"]) if "metric" in words else None,
        table=int(words.get("table", 254)),
        protocol=int(words.get("proto", PROTOCOL_BOOT)),
    )
