"""Extension: an administrator's own commands carry packets between nodes. Flannel's options and variables.

    PreStartupCommand     runs before the node has a lease; what it prints is told to the peers with the lease
    PostStartupCommand    runs with the lease:     NETWORK, SUBNET, IPV6SUBNET, PUBLIC_IP and PUBLIC_IPV6 of the node
    SubnetAddCommand      runs for each peer:      SUBNET, IPV6SUBNET, PUBLIC_IP and PUBLIC_IPV6 of the peer,
    SubnetRemoveCommand   and when the peer goes   and on standard input what the peer's PreStartupCommand printed

A command is a list of words, executed as they are: no shell ever sees them. `$VARIABLE` and `${VARIABLE}` are replaced
after the words have been parted, so that no value becomes two words or anything but a part of one; what a peer tells
goes to standard input only. Pipes, quotes and the like are for a script of the administrator's, which a command may be.

`ShutdownCommand`, which flannel's samples show, is not run here either: stopping the agent stops no pod's network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nankeen.backend import Node
from nankeen.model.address import Family, HardwareAddress, IPAddress, IPNetwork, family_of
from nankeen.model.errors import InputError
from nankeen.model.gojson import Fields, compact, parse_value
from nankeen.model.hook import Command, Hook
from nankeen.model.lease import Lease, Reach
from nankeen.model.state import Object, State

NAME = "extension"
LONGEST_ANNOUNCEMENT = 16 * 1024
"""Characters that a node may tell its peers: it goes into the lease."""

_OF_PEER = ("SUBNET", "IPV6SUBNET", "PUBLIC_IP", "PUBLIC_IPV6")
_OF_NODE = ("NETWORK", *_OF_PEER)
_SUBNET = {Family.IPV4: "SUBNET", Family.IPV6: "IPV6SUBNET"}
_PUBLIC = {Family.IPV4: "PUBLIC_IP", Family.IPV6: "PUBLIC_IPV6"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)

Words = tuple[str, ...]
"""A command before its variables are replaced; empty where there is none."""


@dataclass(frozen=True, slots=True)
class ExtensionBackend:
    """The options, checked. See `nankeen.backend.Backend` for what the methods promise."""

    before: Words = ()
    after: Words = ()
    add: Words = ()
    remove: Words = ()

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return NAME

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    @property
    def pre_startup(self) -> Command | None:
        """What to run before the node asks for a lease; what it prints is the node's announcement."""
        return _command(self.before, {})

    def post_startup(self, node: Node) -> Command | None:
        """What to run when the node has its lease."""
        network = next((network for network in node.networks if network.version == 4), None)
        addresses = [node.public_address(family) for family in node.families]
        return _command(self.after, {"NETWORK": _text(network), **_variables(node.subnets, addresses)})

    def devices(self, node: Node) -> frozenset[str]:  # noqa: ARG002  (its commands know)
        return frozenset()

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (its own affair)
        return {}

    def mtu(self, node: Node) -> int:
        return node.underlay.mtu

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        data = None if node.announcement is None else compact(node.announcement)
        first, *rest = node.families
        others = (Reach(node.public_address(family)) for family in rest)
        return (Reach(node.public_address(first), data), *others)  # flannel's IPv6 has no data of its own

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (it has no devices)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        return State(item for lease in peers for item in self.peer(node, lease))

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        endpoints = [endpoint for endpoint in lease.endpoints if endpoint.family in node.families]
        subnets = tuple(endpoint.subnet for endpoint in endpoints)
        variables = _variables(subnets, [endpoint.reach.address for endpoint in endpoints])
        told = next((endpoint.reach.data for endpoint in endpoints if endpoint.reach.data is not None), None)
        text = _announcement(told) + "\n"
        add, remove = _command(self.add, variables, text), _command(self.remove, variables, text)
        return (Hook(lease.node, subnets, add, remove),) if add or remove else ()

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (its own affair)
        return ()


def parse(options: Fields) -> ExtensionBackend:
    """The backend with these options; raises `ConfigError`."""
    return ExtensionBackend(
        before=_words(options, "PreStartupCommand", ()),
        after=_words(options, "PostStartupCommand", _OF_NODE),
        add=_words(options, "SubnetAddCommand", _OF_PEER),
        remove=_words(options, "SubnetRemoveCommand", _OF_PEER),
    )


def _words(options: Fields, key: str, known: Iterable[str]) -> Words:
    """The words of a command, parted at white space, whose variables are all known."""
    text = options.string(key)
    unknown = sorted({match[1] or match[2] for match in _VARIABLE.finditer(text)} - {*known})
    if unknown:
        allowed = f"its variables are {', '.join(known)}" if known else "it has no variables"
        raise options.refusal(key, f"nobody sets ${unknown[0]}: {allowed}")
    if "\0" in text:
        raise options.refusal(key, "no program takes an argument with a NUL")
    return tuple(text.split())


def _variables(subnets: Iterable[IPNetwork], addresses: Iterable[IPAddress]) -> dict[str, str]:
    """Of a family that is not there, the value is empty."""
    variables = dict.fromkeys(_OF_PEER, "")
    variables |= {_SUBNET[family_of(subnet)]: str(subnet) for subnet in subnets}
    return variables | {_PUBLIC[family_of(address)]: str(address) for address in addresses}


def _command(words: Words, variables: Mapping[str, str], text: str = "") -> Command | None:
    if not words:
        return None
    arguments = tuple(_VARIABLE.sub(lambda match: variables[match[1] or match[2]], word) for word in words)
    return Command(arguments, tuple(variables.items()), text)


def _announcement(data: str | None) -> str:
    """What a peer tells: a string, or nothing at all."""
    told = None if data is None else parse_value(data, "backend data")
    if told is not None and not isinstance(told, str):
        raise InputError("its backend data is no string", where="backend data")
    return told or ""


def _text(value: object) -> str:
    return "" if value is None else str(value)
