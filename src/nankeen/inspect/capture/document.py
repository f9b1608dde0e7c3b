"""One packet as JSON has it: every field of every header by its name, octets in hexadecimal."""

from __future__ import annotations

from enum import Enum
from typing import Any

from nankeen.inspect.capture import words
from nankeen.inspect.capture.sight import Sight
from nankeen.model.packet import Header, Packet


def document(sight: Sight) -> dict[str, object]:
    """All that is known of the packet."""
    frame = sight.frame
    found = passage(stamp(frame.time), sight.point, frame.direction.value, frame.length) | contents(sight.packet)
    if sight.application is not None:
        found["application"] = {"protocol": sight.application.protocol, "text": sight.application.text}
    if sight.quoted is not None:
        found["about"] = contents(sight.quoted)
    return found


def stamp(nanoseconds: int) -> str:
    """The time in seconds since 1970 as text: a number would lose the nanoseconds."""
    digits = str(nanoseconds).zfill(10)
    return f"{digits[:-9]}.{digits[-9:]}"


def passage(time: str, point: str, direction: str, length: int | str) -> dict[str, object]:
    """When, where and which way a frame passed, and its octets."""
    return {"time": time, "point": point, "direction": direction, "length": length}


def contents(packet: Packet) -> dict[str, object]:
    """The headers, how many octets of payload there are, and what is broken."""
    found: dict[str, object] = {
        "headers": [_header(header, level) for level, headers in enumerate(packet.levels) for header in headers],
        "payload": len(packet.payload),
    }
    if packet.fault is not None:
        layer, name = words.fault_name(packet.fault.layer)
        found["malformed"] = {"layer": layer.strip() or None, "name": name, "problem": packet.fault.problem}
    return found


def _header(header: Header, level: int) -> dict[str, object]:
    names = {"layer": words.layer_of(header).strip() or None, "name": words.name_of(header), "level": level}
    return names | {field: _value(getattr(header, field)) for field in header.__dataclass_fields__}


def _value(value: Any) -> object:  # noqa: ANN401 (a field of any header)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value if isinstance(value, int) else str(value)
    return value if value is None or isinstance(value, int) else str(value)
