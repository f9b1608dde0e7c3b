"""The door of a lab: its file, after containerlab's convention, or the flags that say the same.

    name: lab
    topology:
      nodes:
        sw1: {kind: switch}
        r1: {kind: router}
        node1: {kind: node}
        pod1: {kind: pod, node: node1, containers: 2}
      links:
        - endpoints: ["node1:eth0", "sw1:port1"]
          mtu: 1500
    network: {Network: 10.244.0.0/16, Backend: {Type: vxlan}}
    registry: sqlite

Only `topology.nodes` is needed, and of it only the nodes: without a switch all are plugged into one. `network` is
flannel's net-conf.json; `registry: etcd` runs an etcd, the member of that name. What is not allowed is an `InputError`
of one line: file, field, value, what is allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from nankeen.backend import open_backend
from nankeen.lab.topology import Cable, PodPlan, Topology, check
from nankeen.model.address import Family
from nankeen.model.errors import InputError
from nankeen.model.netconf import NetworkConfig

KINDS = ("switch", "router", "node", "pod")
REGISTRIES = {"sqlite": (), "etcd": ("etcd",)}
"""Where leases can be kept, and the members that it takes."""
DEFAULT_NETWORK = {Family.IPV4: {"Network": "10.244.0.0/16"}, Family.IPV6: {"IPv6Network": "fd00:10:244::/48"}}
CONTAINERS = 16

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_NAME_RULE = "at most 20 lower-case letters, digits and inner hyphens"
_MTUS = range(576, 65536)


def from_flags(name: str, nodes: int, pods: int, network: Mapping[str, Any], registry: str) -> Topology:
    """Nodes `node1…` on one switch; pods `pod1…`, pod i on node ((i-1) mod nodes)+1. Raises `InputError`."""
    if nodes < 1 or pods < 0:
        raise InputError(
            f"{nodes} nodes and {pods} pods", where="lab", remedy="a node at least, and no pod less than 0"
        )
    members = {f"node{i}": {"kind": "node"} for i in range(1, nodes + 1)}
    members |= {f"pod{i}": {"kind": "pod", "node": f"node{(i - 1) % nodes + 1}"} for i in range(1, pods + 1)}
    document = {"name": name, "topology": {"nodes": members}, "network": dict(network), "registry": registry}
    return parse(document, "lab")


def default_network(families: Iterable[Family], backend: str) -> dict[str, Any]:
    """The network configuration of a lab that does not say its own, in flannel's spelling."""
    wanted = list(families)
    network: dict[str, Any] = {f"Enable{family}": family in wanted for family in Family}
    for family in wanted:
        network |= DEFAULT_NETWORK[family]
    return {**network, "Backend": {"Type": backend}}


def read(path: Path, changes: Mapping[str, Any] | None = None) -> Topology:
    """The lab of a file. `changes` are put over the file's own top-level fields. Raises `InputError`."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read the lab file: {error.strerror}", where=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"this is no YAML: {problem}", where=str(path)) from error
    if not isinstance(document, dict):
        raise InputError("this is no lab file", where=str(path), remedy="it is a mapping with the field topology")
    return parse({"name": path.name.split(".")[0], **document, **(changes or {})}, str(path))


def parse(document: Mapping[str, Any], where: str) -> Topology:
    """The lab that a file's content says. Raises `InputError`."""
    _known(document, ("name", "topology", "network", "registry"), where, "")
    body = _mapping(document.get("topology"), where, "topology")
    _known(body, ("nodes", "links"), where, "topology.")
    members = _members(body.get("nodes"), where)
    registry = document.get("registry", "sqlite")
    if not isinstance(registry, str) or registry not in REGISTRIES:
        raise _refused(registry, where, "registry", f"one of {', '.join(REGISTRIES)}")
    of_kind = {kind: tuple(name for name, fields in members.items() if fields["kind"] == kind) for kind in KINDS}
    switches = of_kind["switch"] or ("sw1",)
    if not of_kind["switch"] and "sw1" in members:
        raise _refused("sw1", where, "topology.nodes", "a lab without a switch gets one of that name")
    servers = REGISTRIES[registry]
    for name in members.keys() & servers:
        raise _refused(name, where, "topology.nodes", f"the registry {registry} is a member of that name itself")
    topology = Topology(
        name=_name(document.get("name"), where, "name"),
        switches=switches,
        routers=of_kind["router"],
        nodes=of_kind["node"],
        pods=tuple(_pod(name, members, where) for name in of_kind["pod"]),
        cables=(
            *_cables(body.get("links"), members, switches, where),
            *(Cable(switches[0], f"to-{name}", name, "eth0") for name in servers),
        ),
        network=_network(document.get("network"), where),
        registry=registry,
        servers=servers,
    )
    return check(topology, where)


def _members(value: object, where: str) -> dict[str, dict[str, Any]]:
    members = {}
    for name, fields in _mapping(value, where, "topology.nodes").items():
        field = f"topology.nodes.{name}"
        known = _mapping(fields, where, field)
        kind = known.get("kind")
        if kind not in KINDS:
            raise _refused(kind, where, f"{field}.kind", f"one of {', '.join(KINDS)}")
        _known(known, ("kind", "node", "containers") if kind == "pod" else ("kind",), where, f"{field}.")
        members[_name(name, where, "topology.nodes")] = known
    return members


def _pod(name: str, members: Mapping[str, dict[str, Any]], where: str) -> PodPlan:
    field = f"topology.nodes.{name}"
    fields = members[name]
    node, containers = fields.get("node"), fields.get("containers", 1)
    if not isinstance(node, str) or members.get(node, {}).get("kind") != "node":
        raise _refused(node, where, f"{field}.node", "the name of a node")
    return PodPlan(name, node, _integer(containers, range(1, CONTAINERS + 1), where, f"{field}.containers"))


def _cables(
    value: object, members: Mapping[str, dict[str, Any]], switches: tuple[str, ...], where: str
) -> tuple[Cable, ...]:
    if value is None:
        plugged = [name for name, fields in members.items() if fields["kind"] in ("node", "router")]
        return tuple(Cable(switches[0], f"port{i}", name, "eth0") for i, name in enumerate(plugged, 1))
    if not isinstance(value, list):
        raise _refused(value, where, "topology.links", "a list of links")
    return tuple(_cable(link, members, switches, where, f"topology.links[{i}]") for i, link in enumerate(value))


def _cable(
    value: object, members: Mapping[str, dict[str, Any]], switches: tuple[str, ...], where: str, field: str
) -> Cable:
    link = _mapping(value, where, field)
    _known(link, ("endpoints", "mtu"), where, f"{field}.")
    endpoints = link.get("endpoints")
    if not isinstance(endpoints, list) or len(endpoints) != 2:
        raise _refused(endpoints, where, f"{field}.endpoints", 'two of the form "node1:eth0"')
    ends = [_endpoint(end, where, f"{field}.endpoints") for end in endpoints]
    ends.sort(key=lambda end: end[0] not in switches)
    (switch, port), (member, interface) = ends
    if switch not in switches or members.get(member, {}).get("kind") not in ("node", "router"):
        raise _refused(endpoints, where, f"{field}.endpoints", "a switch, and a node or router")
    mtu = _integer(link["mtu"], _MTUS, where, f"{field}.mtu") if "mtu" in link else None
    return Cable(switch, port, member, interface, mtu)


def _endpoint(value: object, where: str, field: str) -> tuple[str, str]:
    name, _, interface = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not name or not _INTERFACE.fullmatch(interface) or interface in ("lo", "br0", ".", ".."):
        raise _refused(value, where, field, 'a member and its interface, as "node1:eth0"')
    return name, interface


def _network(value: object, where: str) -> NetworkConfig:
    network = default_network([Family.IPV4], "vxlan") if value is None else _mapping(value, where, "network")
    config = NetworkConfig.parse(json.dumps(network, default=str), f"{where}: network")
    open_backend(config.backend)
    return config


def _name(value: object, where: str, field: str) -> str:
    if not isinstance(value, str) or len(value) > 20 or not _NAME.fullmatch(value):
        raise _refused(value, where, field, _NAME_RULE)
    return value


def _mapping(value: object, where: str, field: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _refused(value, where, field, "a mapping")
    return value


def _integer(value: object, allowed: range, where: str, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise _refused(value, where, field, f"a number from {allowed.start} to {allowed.stop - 1}")
    return value


def _known(fields: Mapping[str, Any], known: tuple[str, ...], where: str, prefix: str) -> None:
    for key in fields:
        if key not in known:
            raise InputError(f"unknown field {prefix}{key}", where=where, remedy=f"known are {', '.join(known)}")


def _refused(value: object, where: str, field: str, allowed: str) -> InputError:
    shown = "missing" if value is None else f"{value!r} is not allowed"
    return InputError(f"{field}: {shown}", where=where, remedy=f"wanted: {allowed}")
