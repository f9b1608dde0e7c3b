"""Host ports that a runtime asks for: the capability `portMappings` (CNI conventions, "Dynamic Plugin specific
fields").

{"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}]}}
"""

from __future__ import annotations

from ipaddress import IPv6Address

from nankeen.cni.reading import address
from nankeen.model.gojson import Fields
from nankeen.model.hostport import PortMapping, Transport

_LOCALHOST = IPv6Address("::1")
_MOST = 4096
"""Mappings of one pod."""
_HIGHEST = 65_535


def parse_port_mappings(given: Fields | None) -> tuple[PortMapping, ...]:
    """The mappings that `runtimeConfig` asks for, each once. Raises `InputError`, also where two exclude each other."""
    found: dict[tuple[Transport, int], list[PortMapping]] = {}
    for fields in [] if given is None else given.objects("portMappings", _MOST):
        mapping = _parse(fields)
        others = found.setdefault((mapping.protocol, mapping.host_port), [])
        if mapping in others:
            continue
        if any(map(mapping.collides, others)):
            raise fields.refusal("hostPort", f"{mapping} can lead to one place only")
        others.append(mapping)
    return tuple(mapping for mappings in found.values() for mapping in mappings)


def _parse(fields: Fields) -> PortMapping:
    on = address(fields, "hostIP")
    if isinstance(on, IPv6Address) and on.ipv4_mapped is not None:
        on = on.ipv4_mapped
    if on is not None and (on.is_multicast or on == _LOCALHOST):
        raise fields.refusal("hostIP", "it must be an address of the node's that answers can come to, unlike ::1")
    return PortMapping(_transport(fields), _port(fields, "hostPort"), _port(fields, "containerPort"), on)


def _port(fields: Fields, key: str) -> int:
    port = fields.integer(key, 0, 1, _HIGHEST)
    if not port:
        raise fields.refusal(key, f"it must be a whole number from 1 to {_HIGHEST}")
    return port


def _transport(fields: Fields) -> Transport:
    try:
        return Transport[fields.string("protocol", "tcp").upper()]
    except KeyError:
        raise fields.refusal("protocol", f"it must be one of {', '.join(map(str, Transport))}") from None
