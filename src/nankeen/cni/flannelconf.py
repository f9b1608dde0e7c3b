"""The configuration of flannel's CNI plugin, and what that plugin makes of it: the configuration of its delegate.

{"type": "flannel", "subnetFile": …, "dataDir": …, "delegate": {"isDefaultGateway": true}, "ipam": {…}}
+ FLANNEL_NETWORK, FLANNEL_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ of subnet.env
= {"type": "bridge", "mtu": 1450, "ipMasq": false, "isGateway": true, "ipam": {"type": "host-local", …}, …}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nankeen.cni.config import fields_of, parse_name, parse_path, parse_version
from nankeen.cni.error import CniError, Code
from nankeen.model.address import IPNetwork, parse_network
from nankeen.model.errors import InputError
from nankeen.model.gojson import JSON, Fields

TYPE = "flannel"
SUBNET_FILE = Path("/run/flannel/subnet.env")
DATA_DIRECTORY = Path("/var/lib/cni/flannel")
_PLUGIN = re.compile(r"[a-zA-Z0-9][\w.\-]*", re.ASCII)
_INSIDE = frozenset({"bridge", "nankeen"})
_LEFT_TO_BRIDGE = ("enabledad", "disablecontainerinterface")
"""Options that only the reference plugin has: it is executed for them."""


@dataclass(frozen=True, slots=True)
class FlannelConfig:
    """A network configuration of type flannel."""

    version: str
    name: str
    subnet_file: Path
    data_directory: Path
    """Where the delegate's configuration is kept from ADD to DEL."""
    delegate: Mapping[str, JSON]
    ipam: Mapping[str, JSON]
    runtime: JSON
    """`runtimeConfig`, as the runtime wrote it."""
    versioned: bool
    """Whether the configuration names its version."""


def parse_flannel(fields: Fields) -> FlannelConfig:
    """The configuration. Raises `CniError` with code 1 or 7, and `InputError`."""
    delegate = fields.object("delegate")
    members = {} if delegate is None else delegate.besides()
    for key in ("name", "ipam"):
        if delegate is not None and delegate.raw(key) is not None:
            problem = f"'delegate' dictionary must not have '{key}' field, it'll be set by flannel"
            raise CniError(Code.INVALID_CONFIG, problem)
    kind = "bridge" if delegate is None else delegate.string("type", "bridge")
    check_delegate(kind)
    ipam = fields.object("ipam")
    return FlannelConfig(
        version=parse_version(fields),
        name=parse_name(fields),
        subnet_file=parse_path(fields, "subnetFile") or SUBNET_FILE,
        data_directory=parse_path(fields, "dataDir") or DATA_DIRECTORY,
        delegate=members,
        ipam={} if ipam is None else ipam.besides(),
        runtime=fields.raw("runtimeConfig"),
        versioned=fields.raw("cniVersion") is not None,
    )


def check_delegate(kind: str) -> None:
    """Raises `CniError` where the name of a plugin is none, or is that of the one who asks."""
    if not _PLUGIN.fullmatch(kind) or kind == TYPE:
        raise CniError(Code.INVALID_CONFIG, f"{kind!r:.60} cannot be delegated to", where="delegate.type")


def delegate(config: FlannelConfig, subnet_env: str | None) -> dict[str, JSON]:
    """The delegate's configuration; `subnet_env` is the file's text, None where only what is there is to go.

    Keys that are there already stay, but name, ipam, cniVersion and runtimeConfig. Raises `CniError`.
    """
    env = None if subnet_env is None else _parse_env(subnet_env, str(config.subnet_file))
    document: dict[str, JSON] = {**config.delegate, "name": config.name}
    own = Fields(document, "delegate")
    if config.runtime is not None:
        document["runtimeConfig"] = config.runtime
    if config.versioned:
        document["cniVersion"] = config.version
    defaults: dict[str, JSON] = {"type": "bridge"}
    if own.string("type", "bridge") == "bridge":
        defaults["isGateway"] = True
    if env is not None:
        defaults |= {"ipMasq": not env.ip_masq, "mtu": env.mtu}
    document |= {key: value for key, value in defaults.items() if own.raw(key) is None}
    document["ipam"] = _ipam(config, env)
    return document


def is_served_inside(document: dict[str, JSON]) -> bool:
    """Whether we do ourselves what the delegate would do: bridge with host-local."""
    fields = fields_of(document)
    ipam = fields.object("ipam")
    by_host_local = ipam is None or ipam.string("type", "host-local") == "host-local"
    foreign = any(fields.raw(key) for key in _LEFT_TO_BRIDGE)
    return fields.string("type", "bridge") in _INSIDE and by_host_local and not foreign


@dataclass(frozen=True, slots=True)
class _Env:
    networks: tuple[IPNetwork, ...]
    subnets: tuple[IPNetwork, ...]
    mtu: int
    ip_masq: bool


def _ipam(config: FlannelConfig, env: _Env | None) -> dict[str, JSON]:
    ipam = dict(config.ipam)
    own = Fields(ipam, "ipam")
    if own.raw("type") is None:
        ipam["type"] = "host-local"
    for key in list(ipam):
        if key.casefold() == "ranges" or (key.casefold() == "routes" and key != "routes"):
            del ipam[key]
    if env is not None:
        given = own.raw("routes")
        routes: list[JSON] = [{"dst": str(network)} for network in env.networks]
        ipam["ranges"] = [[{"subnet": str(subnet)}] for subnet in env.subnets]
        ipam["routes"] = [*(given if isinstance(given, list) else []), *routes]
    return ipam


def _parse_env(text: str, where: str) -> _Env:
    variables = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    networks = [variables.get(f"FLANNEL_{kind}NETWORK", "") for kind in ("", "IPV6_")]
    subnets = [variables.get(f"FLANNEL_{kind}SUBNET", "") for kind in ("", "IPV6_")]
    mtu, masq = variables.get("FLANNEL_MTU", ""), variables.get("FLANNEL_IPMASQ", "")
    missing = [] if any(networks) else ["FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK"]
    missing += [] if any(subnets) else ["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"]
    missing += [name for name, value in (("FLANNEL_MTU", mtu), ("FLANNEL_IPMASQ", masq)) if not value]
    if missing:
        raise CniError(Code.TRY_AGAIN_LATER, f"{where} is missing {', '.join(missing)}")
    try:
        listed = [parse_network(item.strip()) for item in ",".join(filter(None, networks)).split(",")]
        return _Env(
            networks=tuple(dict.fromkeys(listed)),
            subnets=tuple(parse_network(item) for item in subnets if item),
            mtu=int(mtu),
            ip_masq=masq == "true",
        )
    except (InputError, ValueError) as error:
        raise CniError(Code.TRY_AGAIN_LATER, f"cannot be understood: {error}", where=where) from error
