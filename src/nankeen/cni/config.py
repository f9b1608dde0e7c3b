"""The network configuration of our plugin, parsed at the door: the keys of the reference plugins bridge and host-local.

Follows CNI 1.1.0, section 1 "Network configuration format". Keys match in any case, and what is unknown is ignored, as
Go does; runtimes do write some keys in another case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from nankeen.cni.bandwidth import NO_LIMITS, parse_bandwidth
from nankeen.cni.error import CniError, Code
from nankeen.cni.portmappings import parse_port_mappings
from nankeen.cni.previous import parse_dns, parse_route
from nankeen.cni.ranges import RangeSet, parse_ranges
from nankeen.cni.reading import check_interface_name, parse_cidr, station, strings
from nankeen.cni.result import NO_DNS, Dns, ResultRoute
from nankeen.cni.version import ASSUMED, SUPPORTED
from nankeen.model.address import HardwareAddress, IPAddress, parse_address
from nankeen.model.errors import InputError
from nankeen.model.gojson import JSON, Fields, parse_value
from nankeen.model.hostport import PortMapping
from nankeen.model.shaping import Shaping

MAX_INPUT = 1 << 20
"""Longest network configuration on standard input, in bytes."""
WHERE = "network configuration"

_IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_LONGEST_NAME = 200
"""Longest network name or container ID, in bytes: a file is named by it, and a file system takes 255."""
_MIN_MTU, _MAX_MTU = 68, 65_535
_MAX_VLAN = 4094
_MOST_ROUTES = 256
_NOT_SERVED = ("enabledad", "disableContainerInterface")
"""Options of bridge that we have no equal of."""


@dataclass(frozen=True, slots=True)
class Ipam:
    """Where the pod's addresses come from."""

    ranges: tuple[RangeSet, ...] = ()
    """Given by hand; none for the node's own pod subnets."""
    routes: tuple[ResultRoute, ...] = ()
    """What the pod shall have besides."""
    data_directory: Path | None = None
    """Where reserved addresses are kept; None for the agent's place."""
    resolv_conf: Path | None = None
    """A file like resolv.conf(5), whose DNS settings the result tells."""


@dataclass(frozen=True, slots=True)
class Vlans:
    """A port's VLANs (IEEE 802.1Q)."""

    native: int = 0
    """Of untagged frames; 0 for the bridge's own."""
    trunk: tuple[tuple[int, int], ...] = ()
    """Tagged ones: from and to, both included."""
    keep_default: bool = False
    """Whether the port stays in VLAN 1, too."""


NO_VLANS = Vlans()


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """The network configuration of our plugin. Without ranges given by hand, subnets come from the agent."""

    version: str
    name: str
    """The network's name; it also names the directory of reserved addresses."""
    bridge: str = "cni0"
    mtu: int | None = None
    """Of the pod's interface, in bytes; None for the agent's."""
    hairpin: bool = False
    """Whether the bridge may send a frame back where it came from, so that a pod reaches itself through a service."""
    promiscuous: bool = False
    """Whether the bridge takes every frame: the other way to the same end."""
    isolated: bool = False
    """Whether the port exchanges frames with none that is isolated, too."""
    gateway: bool = True
    """Whether the bridge has the gateway's address."""
    default_gateway: bool = True
    """Whether the pod's default route leads to the bridge."""
    force_address: bool = False
    """Whether an address of the bridge that is another is replaced."""
    vlans: Vlans = NO_VLANS
    spoof_check: bool = False
    """Whether the bridge drops what the pod sends from another hardware address."""
    masquerade: bool = False
    """Whether the pod's packets to outside the pod network get the node's address, by rules of its own."""
    ipam: Ipam = field(default_factory=Ipam)
    dns: Dns = NO_DNS
    """To be passed on; it goes before that of `ipam`."""
    hardware_address: HardwareAddress | None = None
    """That the pod shall have, by the runtime or the configuration."""
    addresses: tuple[IPAddress, ...] = ()
    """The same for IP."""
    ports: tuple[PortMapping, ...] = ()
    """Host ports that lead to the pod."""
    shaping: Shaping = NO_LIMITS
    """How much the pod may receive and send."""


def decode(stdin: bytes) -> dict[str, JSON]:
    """The object on standard input. Raises `CniError` with code 6."""
    if len(stdin) > MAX_INPUT:
        raise CniError(Code.DECODING, f"network configuration longer than {MAX_INPUT} bytes", where="standard input")
    try:
        document = parse_value(stdin, "standard input")
    except InputError as error:
        raise CniError(Code.DECODING, error.problem, where=error.where) from error
    if not isinstance(document, dict):
        raise CniError(Code.DECODING, "not a JSON object", where="standard input")
    return document


def fields_of(document: dict[str, JSON]) -> Fields:
    """The members of a network configuration."""
    return Fields(document, WHERE)


def parse_version(fields: Fields) -> str:
    """The version that is asked for. Raises `CniError` with code 1 where it is none of ours."""
    version = fields.raw("cniVersion")
    if version is None:
        return ASSUMED
    if not isinstance(version, str) or version not in SUPPORTED:
        problem = f"incompatible CNI versions; config is {version!r:.60}, plugin supports {list(SUPPORTED)}"
        raise CniError(Code.INCOMPATIBLE_VERSION, problem)
    return version


def parse_name(fields: Fields) -> str:
    """The network's name. Raises `InputError`."""
    name = fields.string("name")
    if not name:
        raise InputError("missing network name", where=WHERE)
    if not is_identifier(name):
        raise InputError(f"invalid characters found in network name {name!r:.60}", where=WHERE)
    return name


def is_identifier(text: str) -> bool:
    """Whether a text can be a container ID or a network's name; such a text is safe as a file's name."""
    return len(text) <= _LONGEST_NAME and _IDENTIFIER.fullmatch(text) is not None


def parse_config(fields: Fields, *, default_gateway: bool = True) -> PluginConfig:
    """The network configuration; `default_gateway` is what holds where it does not say. Raises `CniError` with code 1,
    2 or 7, and `InputError`.
    """
    version, name = parse_version(fields), parse_name(fields)
    for key in _NOT_SERVED:
        if fields.raw(key):
            raise CniError(Code.UNSUPPORTED_FIELD, "is not supported", where=key, remedy="leave it out")
    bridge = fields.string("bridge", "cni0")
    check_interface_name(bridge, "bridge", Code.INVALID_CONFIG)
    hairpin, promiscuous = _flag(fields, "hairpinMode"), _flag(fields, "promiscMode")
    if hairpin and promiscuous:
        raise InputError("cannot set hairpin mode and promiscuous mode at the same time", where=WHERE)
    default = fields.boolean("isDefaultGateway", default=default_gateway)
    given = fields.object("runtimeConfig")
    _check_given(given)
    wishes = _wishes(fields, given)
    return PluginConfig(
        version=version,
        name=name,
        bridge=bridge,
        mtu=_parse_mtu(fields),
        hairpin=hairpin,
        promiscuous=promiscuous,
        isolated=_flag(fields, "portIsolation"),
        gateway=fields.boolean("isGateway", default=True) or default,
        default_gateway=default,
        force_address=_flag(fields, "forceAddress"),
        vlans=_parse_vlans(fields),
        spoof_check=_flag(fields, "macspoofchk"),
        masquerade=_flag(fields, "ipMasq"),
        ipam=_parse_ipam(fields.object("ipam") or Fields({}, WHERE), given, version),
        dns=_parse_dns(fields, given),
        hardware_address=wishes[0],
        addresses=wishes[1],
        ports=parse_port_mappings(given),
        shaping=parse_bandwidth(fields, given),
    )


def _check_given(given: Fields | None) -> None:
    """Looks at capabilities that come to nothing here: names for other pods, which are DNS's, and what a veth lacks."""
    if given is None:
        return
    _check_aliases(given)
    if given.raw("infinibandGUID"):
        problem = "an Ethernet interface has none"
        raise CniError(Code.UNSUPPORTED_FIELD, problem, where="runtimeConfig.infinibandGUID", remedy="leave it out")


def _check_aliases(given: Fields) -> None:
    """Names of the pod: a list of them by the conventions, and lists by network as Podman has it, for its `dnsname`."""
    if not isinstance(given.raw("aliases"), dict):
        strings(given, "aliases")
    elif (by_network := given.object("aliases")) is not None:
        for network in by_network.besides():
            strings(by_network, network)


def _parse_dns(fields: Fields, given: Fields | None) -> Dns:
    """DNS settings: the configuration's, each list replaced by the one that the runtime gives by the capability."""
    dns, wished = parse_dns(fields), None if given is None else given.object("dns")
    if wished is None:
        return dns
    return Dns(
        nameservers=strings(wished, "servers") or dns.nameservers,
        domain=dns.domain,
        search=strings(wished, "searches") or dns.search,
        options=strings(wished, "options") or dns.options,
    )


def _flag(fields: Fields, key: str) -> bool:
    return fields.boolean(key, default=False)


def _parse_mtu(fields: Fields) -> int | None:
    mtu = fields.integer("mtu", 0, 0, _MAX_MTU)
    if 0 < mtu < _MIN_MTU:
        raise fields.refusal("mtu", f"it must be {_MIN_MTU} to {_MAX_MTU}, or 0")
    return mtu or None


def _parse_vlans(fields: Fields) -> Vlans:
    return Vlans(
        native=fields.integer("vlan", 0, 0, _MAX_VLAN),
        trunk=tuple(_trunk(item) for item in fields.objects("vlanTrunk", _MAX_VLAN)),
        keep_default=_flag(fields, "preserveDefaultVlan"),
    )


def _trunk(fields: Fields) -> tuple[int, int]:
    single = fields.integer("id", 0, 1, _MAX_VLAN)
    if single:
        return single, single
    first, last = fields.integer("minID", 0, 1, _MAX_VLAN), fields.integer("maxID", 0, 1, _MAX_VLAN)
    if not 0 < first <= last:
        raise fields.refusal("minID", "it needs a maxID that is not smaller, or there must be an id alone")
    return first, last


def _parse_ipam(fields: Fields, given: Fields | None, version: str) -> Ipam:
    kind = fields.string("type", "host-local")
    if kind != "host-local":
        raise CniError(
            Code.UNSUPPORTED_FIELD, f"{kind!r:.60} is not supported", where="ipam.type", remedy="leave it out"
        )
    return Ipam(
        ranges=parse_ranges(fields, given, version),
        routes=tuple(_route(item) for item in fields.objects("routes", _MOST_ROUTES)),
        data_directory=parse_path(fields, "dataDir"),
        resolv_conf=parse_path(fields, "resolvConf"),
    )


def _route(fields: Fields) -> ResultRoute:
    for key in ("mtu", "advmss", "scope"):
        if fields.raw(key):
            raise CniError(Code.UNSUPPORTED_FIELD, "not supported in a route", where=key, remedy="leave it out")
    return parse_route(fields)


def parse_path(fields: Fields, key: str) -> Path | None:
    """An absolute path; None where there is none. Raises `InputError`."""
    text = fields.string(key)
    if text and ("\0" in text or not text.startswith("/") or ".." in text.split("/")):
        raise fields.refusal(key, "it must be an absolute path, without ..")
    return Path(text) if text else None


def _wishes(fields: Fields, given: Fields | None) -> tuple[HardwareAddress | None, tuple[IPAddress, ...]]:
    """A hardware address and IP addresses that the pod shall have: by `args.cni`, and by the runtime before that."""
    args = fields.object("args")
    told = [item for item in (given, args.object("cni") if args else None) if item is not None]
    stations = [station(item.string("mac"), "mac") for item in told if item.string("mac")]
    addresses = [parse_request(text, "ips") for item in reversed(told) for text in strings(item, "ips")]
    return stations[0] if stations else None, tuple(dict.fromkeys(addresses))


def parse_request(text: str, where: str) -> IPAddress:
    """An IP address that is asked for, maybe with the length of its network. Raises `InputError`."""
    if "/" not in text:
        return parse_address(text)
    found = parse_cidr(text)
    if found is None:
        raise InputError(f"{text!r:.60} is not an IP address", where=where)
    return found.ip
