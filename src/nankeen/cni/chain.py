"""Configurations of a chain's later members, by the names of the reference plugins that they are for.

A member gets what the ones before it answered as `prevResult`, and answers the same with what it has changed (CNI
1.1.0, section 3 "Execution of Network Configurations"). `loopback` stands alone as a rule, and is served here, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.cni.bandwidth import parse_bandwidth
from nankeen.cni.config import parse_name, parse_version
from nankeen.cni.error import CniError, Code
from nankeen.cni.portmappings import parse_port_mappings
from nankeen.cni.reading import strings
from nankeen.cni.tuning import Tuning, parse_tuning
from nankeen.model.gojson import Fields
from nankeen.model.hostport import PortMapping
from nankeen.model.shaping import Shaping

PORTMAP, BANDWIDTH, TUNING, FIREWALL, LOOPBACK = "portmap", "bandwidth", "tuning", "firewall", "loopback"
TYPES = frozenset({PORTMAP, BANDWIDTH, TUNING, FIREWALL, LOOPBACK})
_POLICIES = ("open", "same-bridge", "isolated")
_BACKENDS = {PORTMAP: ("", "iptables", "nftables"), FIREWALL: ("", "iptables", "firewalld")}
_MAX_BIT = 31


@dataclass(frozen=True, slots=True)
class PortMap:
    """Host ports are to lead to the pod."""

    mappings: tuple[PortMapping, ...]


@dataclass(frozen=True, slots=True)
class Firewall:
    """Pods are let through FORWARD by the agent: there is nothing to be done for one."""


@dataclass(frozen=True, slots=True)
class Loopback:
    """The pod's loopback interface is to be up."""


Member = PortMap | Shaping | Tuning | Firewall | Loopback


@dataclass(frozen=True, slots=True)
class ChainedConfig:
    """The configuration of a chain's later member."""

    version: str
    name: str
    """The network's name."""
    member: Member
    """What is to be done, by its type."""


def parse_chained(fields: Fields, kind: str, interface: str, mac: str) -> ChainedConfig:
    """The configuration of a member of that type; `interface` is the pod's, `mac` what CNI_ARGS asks for.

    Raises `CniError` with code 1, 2 or 7, and `InputError`.
    """
    return ChainedConfig(parse_version(fields), parse_name(fields), _member(fields, kind, interface, mac))


def _member(fields: Fields, kind: str, interface: str, mac: str) -> Member:
    given = fields.object("runtimeConfig")
    if kind == PORTMAP:
        _check_portmap(fields)
        return PortMap(parse_port_mappings(given))
    if kind == BANDWIDTH:
        return parse_bandwidth(fields, given)
    if kind == TUNING:
        return parse_tuning(fields, given, mac, interface)
    if kind == FIREWALL:
        _check_firewall(fields)
        return Firewall()
    return Loopback()


def _check_portmap(fields: Fields) -> None:
    """Refuses what our host ports have no equal of: the rest says how iptables is to be used, which they do without."""
    _check_choice(fields, "backend", _BACKENDS[PORTMAP])
    fields.boolean("snat", default=True)
    fields.integer("markMasqBit", 0, 0, _MAX_BIT)
    fields.string("externalSetMarkChain")
    if fields.boolean("masqAll", default=False):
        raise _unsupported("masqAll")
    for key in ("conditionsV4", "conditionsV6"):
        if strings(fields, key):
            raise _unsupported(key)


def _check_firewall(fields: Fields) -> None:
    """Refuses policies that nobody here would enforce."""
    _check_choice(fields, "backend", _BACKENDS[FIREWALL])
    for key in ("firewalldZone", "iptablesAdminChainName"):
        fields.string(key)
    _check_choice(fields, "ingressPolicy", ("", *_POLICIES))
    if fields.string("ingressPolicy", "open") not in ("", "open"):
        raise _unsupported("ingressPolicy")


def _check_choice(fields: Fields, key: str, choices: tuple[str, ...]) -> None:
    if fields.string(key) not in choices:
        raise fields.refusal(key, f"it must be one of {', '.join(filter(None, choices))}")


def _unsupported(key: str) -> CniError:
    remedy = "leave it out, or leave this member to the reference plugin"
    return CniError(Code.UNSUPPORTED_FIELD, "is not supported", where=key, remedy=remedy)
