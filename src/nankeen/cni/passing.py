"""A result passed on along a chain: as it came, with fields that we know nothing of, but for what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from nankeen.cni.previous import parse_result
from nankeen.cni.result import ResultInterface, render_interface
from nankeen.cni.version import at_least
from nankeen.model.address import HardwareAddress
from nankeen.model.gojson import JSON, Fields, compact, parse_object, parse_value

_WHERE = "prevResult"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a member of a chain changes of the result."""

    added: tuple[ResultInterface, ...] = ()
    """Devices of the node."""
    hardware_address: HardwareAddress | None = None
    """Of the pod's interface."""
    mtu: int | None = None
    """The same, in bytes."""


UNCHANGED = Changes()


def pass_on(previous: Mapping[str, JSON], version: str, interface: str, changes: Changes = UNCHANGED) -> bytes:
    """The result in that version; `interface` is the pod's. Raises `CniError` and `InputError`."""
    document = dict(previous)
    if Fields(document, _WHERE).string("cniVersion") != version:
        document = _converted(document, version)
    if at_least(version, "0.3.0") and changes != UNCHANGED:
        _change(document, version, interface, changes)
    return msgspec.json.format(compact(document).encode(), indent=2) + b"\n"


def _converted(document: Mapping[str, JSON], version: str) -> dict[str, JSON]:
    """Runtimes hand a result over in the version of the configuration; another one is written anew."""
    text = parse_result(Fields(document, _WHERE), version).render(version)
    return parse_object(text, _WHERE).besides()


def _change(document: dict[str, JSON], version: str, interface: str, changes: Changes) -> None:
    key = next((name for name in document if name.casefold() == "interfaces"), "interfaces")
    listed = document.get(key)
    added = parse_value(msgspec.json.encode([render_interface(item, version) for item in changes.added]), _WHERE)
    document[key] = [
        *(_corrected(item, version, interface, changes) for item in (listed if isinstance(listed, list) else [])),
        *(added if isinstance(added, list) else []),
    ]


def _corrected(item: JSON, version: str, interface: str, changes: Changes) -> JSON:
    if not isinstance(item, dict) or item.get("name") != interface or not item.get("sandbox"):
        return item
    corrected = dict(item)
    if changes.hardware_address is not None:
        corrected["mac"] = str(changes.hardware_address)
    if changes.mtu is not None and at_least(version, "1.1.0"):
        corrected["mtu"] = changes.mtu
    return corrected
