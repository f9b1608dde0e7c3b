"""A request, parsed at the door: environment and standard input become one value that cannot be wrong.

Follows CNI 1.1.0, sections 1 "Network configuration format" and 2 "Execution Protocol", and where that is silent the
reference library. Every refusal is a `CniError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import msgspec

from nankeen.cni.error import CniError, Code
from nankeen.cni.version import ASSUMED, SUPPORTED

MAX_INPUT = 1 << 20
"""Longest network configuration on standard input, in bytes."""
MAX_INTERFACE_NAME = 15
"""Longest interface name, in bytes: IFNAMSIZ - 1 (linux/if.h)."""

_IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_MIN_MTU, _MAX_MTU = 68, 65_535


class Verb(Enum):
    """What the runtime asks for. A verb is served when it stands here, in `REQUIRED` and in the plugin's table."""

    ADD = "ADD"
    DEL = "DEL"


REQUIRED: Mapping[Verb, tuple[str, ...]] = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
}
"""The variables that the runtime must set for a verb."""


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """The network configuration of our plugin. Subnets and gateways are not in it: they come from the agent."""

    version: str
    name: str
    """The network's name; it also names the directory of reserved addresses."""
    bridge: str = "cni0"
    mtu: int | None = None
    """Of the pod's interface, in bytes; None for the agent's."""
    hairpin: bool = False
    """Whether the bridge may send a frame back where it came from, so that a pod reaches itself through a service."""
    default_gateway: bool = True
    """Whether the pod's default route leads to the bridge."""
    data_directory: Path | None = None
    """Where reserved addresses are kept; None for the agent's place."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a runtime asks of the plugin."""

    verb: Verb
    container: str
    interface: str
    """The interface's name inside the pod."""
    namespace: str
    """The path of the pod's network namespace as the runtime sees it; "" where it is gone already."""
    config: PluginConfig
    args: Mapping[str, str]
    """CNI_ARGS: what the orchestrator says about the pod."""


def parse_request(environment: Mapping[str, str], stdin: bytes) -> Request:
    """The request. Raises `CniError` with code 1, 2, 4, 6 or 7."""
    verb = _verb(environment.get("CNI_COMMAND", ""))
    missing = [name for name in REQUIRED[verb] if not environment.get(name)]
    if missing:
        raise CniError(Code.INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    container, interface = environment["CNI_CONTAINERID"], environment["CNI_IFNAME"]
    if not _IDENTIFIER.fullmatch(container):
        raise CniError(Code.INVALID_ENVIRONMENT, f"invalid characters in containerID {container!r}")
    check_interface_name(interface, "CNI_IFNAME", Code.INVALID_ENVIRONMENT)
    return Request(
        verb=verb,
        container=container,
        interface=interface,
        namespace=environment.get("CNI_NETNS", ""),
        config=parse_config(stdin),
        args=_parse_args(environment.get("CNI_ARGS", "")),
    )


def requested_version(stdin: bytes) -> str:
    """The version an answer is written in, also where the request is refused: the asked one if it is ours."""
    try:
        version = _decode(stdin).get("cniversion", ASSUMED)
    except CniError:
        return SUPPORTED[-1]
    return version if isinstance(version, str) and version in SUPPORTED else SUPPORTED[-1]


def parse_config(stdin: bytes) -> PluginConfig:
    """The network configuration; keys we do not know are ignored. Raises `CniError` with code 1, 2, 6 or 7."""
    document = _decode(stdin)
    version = document.get("cniversion", ASSUMED)
    if version not in SUPPORTED:
        problem = f"incompatible CNI versions; config is {version!r}, plugin supports {list(SUPPORTED)}"
        raise CniError(Code.INCOMPATIBLE_VERSION, problem)
    try:
        return _config(msgspec.convert(document, _Document))
    except msgspec.ValidationError as error:
        raise CniError(Code.INVALID_CONFIG, str(error), where="network configuration") from error


def check_interface_name(name: str, where: str, code: Code) -> None:
    """Raises `CniError` where the kernel would not take the name, or would take it for something else."""
    if (
        len(name.encode()) > MAX_INTERFACE_NAME
        or name in ("", ".", "..")
        or not name.isprintable()
        or any(character in "/:%" or character.isspace() for character in name)
    ):
        problem = f"{name!r} is not an interface name"
        raise CniError(code, problem, where=where, remedy="at most 15 bytes, without space, '/', ':' or '%'")


class _Ipam(msgspec.Struct):
    type: str = "host-local"
    data_dir: str = msgspec.field(default="", name="datadir")


class _Document(msgspec.Struct):
    """The configuration as written, its keys in lower case: Go takes them in any."""

    version: str = msgspec.field(default=ASSUMED, name="cniversion")
    name: str = ""
    bridge: str = "cni0"
    mtu: int = 0
    hairpin: bool = msgspec.field(default=False, name="hairpinmode")
    default_gateway: bool = msgspec.field(default=True, name="isdefaultgateway")
    ipam: _Ipam = msgspec.field(default_factory=_Ipam)


def _config(document: _Document) -> PluginConfig:
    where = "network configuration"
    if not document.name:
        raise CniError(Code.INVALID_CONFIG, "missing network name", where=where)
    if not _IDENTIFIER.fullmatch(document.name):
        raise CniError(Code.INVALID_CONFIG, f"invalid characters found in network name {document.name!r}", where=where)
    check_interface_name(document.bridge, "bridge", Code.INVALID_CONFIG)
    if document.mtu and not _MIN_MTU <= document.mtu <= _MAX_MTU:
        raise CniError(Code.INVALID_CONFIG, f"{document.mtu} is no MTU", where="mtu", remedy="68 to 65535, or 0")
    if document.ipam.type != "host-local":
        problem = f"{document.ipam.type!r} is not supported"
        raise CniError(Code.UNSUPPORTED_FIELD, problem, where="ipam.type", remedy="leave it out")
    directory = document.ipam.data_dir
    if directory and ("\0" in directory or not directory.startswith("/")):
        raise CniError(Code.INVALID_CONFIG, f"{directory!r} is not an absolute path", where="ipam.dataDir")
    return PluginConfig(
        version=document.version,
        name=document.name,
        bridge=document.bridge,
        mtu=document.mtu or None,
        hairpin=document.hairpin,
        default_gateway=document.default_gateway,
        data_directory=Path(directory) if directory else None,
    )


def _verb(command: str) -> Verb:
    try:
        return Verb(command)
    except ValueError:
        served = ", ".join(verb.value for verb in Verb)
        problem = f"unknown CNI_COMMAND: {command}"
        raise CniError(Code.INVALID_ENVIRONMENT, problem, remedy=f"these are served: {served}") from None


def _parse_args(text: str) -> dict[str, str]:
    args = {}
    for pair in filter(None, text.split(";")):
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise CniError(Code.INVALID_ENVIRONMENT, f"{pair!r} is not a KEY=VALUE pair", where="CNI_ARGS")
        args[key] = value
    return args


def _decode(stdin: bytes) -> dict[str, object]:
    if len(stdin) > MAX_INPUT:
        raise CniError(Code.DECODING, f"network configuration longer than {MAX_INPUT} bytes", where="standard input")
    try:
        document = msgspec.json.decode(stdin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CniError(Code.DECODING, f"not JSON: {error}", where="standard input") from error
    if not isinstance(document, dict):
        raise CniError(Code.DECODING, "not a JSON object", where="standard input")
    folded = _fold(document)
    if isinstance(ipam := folded.get("ipam"), dict):
        folded["ipam"] = _fold(ipam)
    return folded


def _fold(value: dict[str, object]) -> dict[str, object]:
    """Keys without case and without nulls: encoding/json leaves a field alone that is null."""
    return {key.casefold(): item for key, item in value.items() if item is not None}
