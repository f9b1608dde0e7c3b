"""A request, parsed at the door: environment and standard input become one value that cannot be wrong.

Follows CNI 1.1.0, sections 1 "Network configuration format" and 2 "Execution Protocol", and where that is silent the
reference library. Every refusal is a `CniError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from nankeen.cni.chain import TYPES, ChainedConfig, Loopback, parse_chained
from nankeen.cni.config import (
    MAX_INPUT,
    WHERE,
    PluginConfig,
    decode,
    fields_of,
    is_identifier,
    parse_config,
    parse_version,
)
from nankeen.cni.config import (
    parse_request as parse_requested,
)
from nankeen.cni.error import CniError, Code, as_cni_error
from nankeen.cni.flannelconf import TYPE, FlannelConfig, parse_flannel
from nankeen.cni.previous import parse_result
from nankeen.cni.reading import check_interface_name, station
from nankeen.cni.result import Result
from nankeen.cni.version import SUPPORTED, at_least
from nankeen.model.address import HardwareAddress, IPAddress
from nankeen.model.errors import InputError
from nankeen.model.gojson import JSON, Fields

__all__ = ["MAX_INPUT", "Attachment", "Request", "Verb", "parse_request", "requested_version"]


class Verb(Enum):
    """What the runtime asks for. A verb is served when it stands here, in `REQUIRED` and in the plugin's table."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"


REQUIRED: Mapping[Verb, tuple[str, ...]] = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME"),
    Verb.GC: (),
    Verb.STATUS: (),
}
"""The variables that the runtime must set for a verb."""
_SINCE = {Verb.CHECK: "0.4.0", Verb.GC: "1.1.0", Verb.STATUS: "1.1.0"}
"""The version of the specification that brought a verb."""
_MOST_ATTACHMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """What holds an address: a pod's interface, within one network."""

    container: str
    interface: str
    """Its name inside the pod; "" of a holder who did not say."""

    @property
    def content(self) -> bytes:
        """What an address's file says of its holder, in host-local's store."""
        return f"{self.container}\r\n{self.interface}".encode()


@dataclass(frozen=True, slots=True)
class Request:
    """What a runtime asks of the plugin."""

    verb: Verb
    container: str
    """"" for GC and STATUS, as the interface."""
    interface: str
    """The interface's name inside the pod."""
    namespace: str
    """The path of the pod's network namespace as the runtime sees it; "" where it is gone already."""
    config: PluginConfig | FlannelConfig | ChainedConfig
    args: Mapping[str, str]
    """CNI_ARGS: what the orchestrator says about the pod."""
    path: tuple[str, ...] = ()
    """CNI_PATH: directories of plugins."""
    previous: Result | None = None
    """`prevResult`: for CHECK, and for the ADD of a chain's later member."""
    valid: frozenset[Attachment] = frozenset()
    """What stands, for GC: the rest may go."""
    document: Mapping[str, JSON] = field(default_factory=dict, compare=False, repr=False)
    """The configuration as it came."""

    @property
    def attachment(self) -> Attachment:
        return Attachment(self.container, self.interface)

    @property
    def hardware_address(self) -> HardwareAddress | None:
        """What the pod's interface shall have, where anybody asks for one. Raises `InputError`."""
        given = self.config.hardware_address if isinstance(self.config, PluginConfig) else None
        text = self.args.get("MAC", "")
        return given or (station(text, "CNI_ARGS MAC") if text else None)

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """The IP addresses that are asked for. Raises `InputError`."""
        given = self.config.addresses if isinstance(self.config, PluginConfig) else ()
        text = self.args.get("IP", "")
        named = [parse_requested(item.strip(), "CNI_ARGS IP") for item in text.split(",")] if text else []
        return tuple(dict.fromkeys([*named, *given]))


def parse_request(environment: Mapping[str, str], stdin: bytes) -> Request:
    """The request. Raises `CniError` with code 1, 2, 4, 6 or 7."""
    verb = _verb(environment.get("CNI_COMMAND", ""))
    missing = [name for name in REQUIRED[verb] if not environment.get(name)]
    if missing:
        raise CniError(Code.INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    container, interface = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")
    if REQUIRED[verb]:
        if not is_identifier(container):
            raise CniError(Code.INVALID_ENVIRONMENT, f"invalid characters in containerID {container!r:.80}")
        check_interface_name(interface, "CNI_IFNAME", Code.INVALID_ENVIRONMENT)
    document = decode(stdin)
    fields = fields_of(document)
    try:
        args = _parse_args(environment.get("CNI_ARGS", ""))
        config = _config(fields, verb, interface, args)
        return Request(
            verb=verb,
            container=container,
            interface=interface,
            namespace=environment.get("CNI_NETNS", ""),
            config=config,
            args=args,
            path=_parse_path(environment.get("CNI_PATH", "")),
            previous=_previous(fields, verb, config),
            valid=_valid(fields) if verb is Verb.GC else frozenset(),
            document=document,
        )
    except InputError as error:
        raise as_cni_error(error) from error


def requested_version(stdin: bytes) -> str:
    """The version an answer is written in, also where the request is refused: the asked one if it is ours."""
    try:
        return parse_version(fields_of(decode(stdin)))
    except CniError:
        return SUPPORTED[-1]


def _config(
    fields: Fields, verb: Verb, interface: str, args: Mapping[str, str]
) -> PluginConfig | FlannelConfig | ChainedConfig:
    """The configuration, by the plugin that its `type` names; ours where it is none that we stand in for."""
    kind = fields.raw("type")
    config: PluginConfig | FlannelConfig | ChainedConfig
    if isinstance(kind, str) and kind in TYPES:
        config = parse_chained(fields, kind, interface, args.get("MAC", ""))
    else:
        config = parse_flannel(fields) if kind == TYPE else parse_config(fields)
    since = _SINCE.get(verb, SUPPORTED[0])
    if not at_least(config.version, since):
        problem = f"config version {config.version} does not allow {verb.value}"
        raise CniError(Code.INCOMPATIBLE_VERSION, problem, remedy=f"cniVersion must be {since} at least")
    return config


def _previous(fields: Fields, verb: Verb, config: PluginConfig | FlannelConfig | ChainedConfig) -> Result | None:
    if verb not in (Verb.ADD, Verb.CHECK):
        return None
    found = fields.object("prevResult")
    if found is not None:
        return parse_result(found, config.version)
    if isinstance(config, ChainedConfig):
        if isinstance(config.member, Loopback):
            return None  # it stands alone as a rule
        raise _missing("it must come after another plugin")
    if verb is Verb.CHECK:
        raise _missing("CHECK needs what ADD answered")
    return None


def _missing(remedy: str) -> CniError:
    return CniError(Code.INVALID_CONFIG, "missing prevResult", where=WHERE, remedy=remedy)


def _valid(fields: Fields) -> frozenset[Attachment]:
    if fields.raw("cni.dev/valid-attachments") is None:
        problem = "missing cni.dev/valid-attachments"
        raise CniError(Code.INVALID_CONFIG, problem, where=WHERE, remedy="GC needs the list of what stands")
    listed = fields.objects("cni.dev/valid-attachments", _MOST_ATTACHMENTS)
    return frozenset(Attachment(item.string("containerID"), item.string("ifname")) for item in listed)


def _verb(command: str) -> Verb:
    try:
        return Verb(command)
    except ValueError:
        served = ", ".join(verb.value for verb in Verb)
        problem = f"unknown CNI_COMMAND: {command:.60}"
        raise CniError(Code.INVALID_ENVIRONMENT, problem, remedy=f"these are served: {served}") from None


def _parse_args(text: str) -> dict[str, str]:
    args = {}
    for pair in filter(None, text.split(";")):
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise CniError(Code.INVALID_ENVIRONMENT, f"{pair!r:.80} is not a KEY=VALUE pair", where="CNI_ARGS")
        args[key] = value
    return args


def _parse_path(text: str) -> tuple[str, ...]:
    directories = tuple(filter(None, text.split(":")))
    for directory in directories:
        if not directory.startswith("/") or ".." in directory.split("/"):
            problem = f"{directory!r:.80} is not an absolute path without .."
            raise CniError(Code.INVALID_ENVIRONMENT, problem, where="CNI_PATH")
    return directories
