"""A result read back: what a runtime hands over as `prevResult`, in whatever version it was written.

Follows CNI 1.1.0, section 5 "Result Types", and the same section of the versions before.
"""

from __future__ import annotations

from nankeen.cni.error import CniError, Code
from nankeen.cni.reading import address, cidr, network, strings
from nankeen.cni.result import Dns, Result, ResultAddress, ResultInterface, ResultRoute
from nankeen.cni.version import SUPPORTED, at_least
from nankeen.model.address import HardwareAddress
from nankeen.model.gojson import Fields

_MOST = 256
"""Interfaces, addresses and routes of one result at most, each."""
_NUMBER = (1 << 32) - 1


def parse_result(fields: Fields, version: str) -> Result:
    """The result; `version` is the one to assume where it names none. Raises `CniError` and `InputError`."""
    version = fields.string("cniVersion") or version
    if version not in SUPPORTED:
        raise CniError(Code.INCOMPATIBLE_VERSION, f"unsupported CNI result version {version!r}", where="prevResult")
    if not at_least(version, "0.3.0"):
        return _by_family(fields)
    return Result(
        interfaces=tuple(_interface(item) for item in fields.objects("interfaces", _MOST)),
        addresses=tuple(_address(item) for item in fields.objects("ips", _MOST)),
        routes=tuple(parse_route(item) for item in fields.objects("routes", _MOST)),
        dns=parse_dns(fields),
    )


def parse_route(fields: Fields) -> ResultRoute:
    """A route, as far as we make any; what another plugin says of one besides is left out. Raises `InputError`."""
    return ResultRoute(
        destination=network(fields, "dst"),
        gateway=address(fields, "gw"),
        priority=fields.integer("priority", 0, 0, _NUMBER) or None,
        table=fields.integer("table", 0, 0, _NUMBER) or None,
    )


def parse_dns(fields: Fields) -> Dns:
    """The member `dns` of a result or a configuration. Raises `InputError`."""
    dns = fields.object("dns")
    if dns is None:
        return Dns()
    return Dns(
        nameservers=strings(dns, "nameservers"),
        domain=dns.string("domain"),
        search=strings(dns, "search"),
        options=strings(dns, "options"),
    )


def _interface(fields: Fields) -> ResultInterface:
    address = fields.string("mac")
    return ResultInterface(
        name=fields.string("name"),
        address=HardwareAddress.parse(address) if address else None,
        mtu=fields.integer("mtu", 0, 0, _NUMBER) or None,
        sandbox=fields.string("sandbox"),
    )


def _address(fields: Fields) -> ResultAddress:
    index = None if fields.raw("interface") is None else fields.integer("interface", 0, 0, _MOST - 1)
    return ResultAddress(cidr(fields, "address"), address(fields, "gateway"), index)


def _by_family(fields: Fields) -> Result:
    """`ip4` and `ip6`, of versions 0.1.0 and 0.2.0."""
    found = [item for item in (fields.object("ip4"), fields.object("ip6")) if item is not None]
    return Result(
        interfaces=(),
        addresses=tuple(ResultAddress(cidr(item, "ip"), address(item, "gateway")) for item in found),
        routes=tuple(parse_route(route) for item in found for route in item.objects("routes", _MOST)),
        dns=parse_dns(fields),
    )
