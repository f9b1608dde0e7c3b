"""Layer 7, as far as one packet tells: the first line of HTTP and FTP, the question and answer of DNS (RFC 1035)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nankeen.model.errors import InputError
from nankeen.model.packet import Tcp, Udp
from nankeen.model.packet.field import need
from nankeen.model.printable import printable

LONGEST = 100
"""Characters that are shown of a line."""

_HTTP = re.compile(rb"(?:(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) \S+ )?HTTP/1\.[01]\b[^\r\n]*")
_HOST = re.compile(rb"\r\nHost: *([^\r\n]+)", re.IGNORECASE)
_FTP = re.compile(rb"(?:[A-Z]{3,4}|\d{3})(?:[ -][^\r\n]*)?\r\n")
_HTTP_OR_FTP = re.compile(_HTTP.pattern + b"|" + _FTP.pattern)
_ANYTHING = re.compile(rb"(?s:.)")
_FTP_PORT = 21
_DNS_PORTS = frozenset({53, 5353})
"""DNS, and its multicast (RFC 6762)."""

_DNS = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
_CODES = {0: "no error", 1: "format error", 2: "server failure", 3: "no such name", 4: "not implemented", 5: "refused"}
_LONGEST_NAME = 255
_SHOWN_ANSWERS = 4


@dataclass(frozen=True, slots=True)
class Application:
    """What a packet's payload is, fit to be shown."""

    protocol: str
    """HTTP, FTP or DNS."""
    text: str


def opening(header: Tcp | Udp) -> re.Pattern[bytes] | None:
    """What payload behind that header begins with where `application` knows it; None where it knows none."""
    ports = (header.source, header.destination)
    if _DNS_PORTS.intersection(ports):
        return _ANYTHING
    if isinstance(header, Udp):
        return None
    return _HTTP_OR_FTP if _FTP_PORT in ports else _HTTP


def application(header: Tcp | Udp, payload: bytes) -> Application | None:
    """What the payload begins with, or None where it is nothing known. Never raises."""
    known = opening(header)
    if known is None or not known.match(payload):
        return None
    if known is not _ANYTHING:
        return _line(payload)
    try:
        return _dns(payload if isinstance(header, Udp) else payload[2:])  # after its length (RFC 1035 §4.2.2)
    except InputError as error:
        return Application("DNS", f"malformed: {error.problem}")


def _line(payload: bytes) -> Application:
    """The first one, of HTTP or FTP."""
    if found := _HTTP.match(payload):
        host = _HOST.search(payload)
        return Application("HTTP", _text(found.group()) + (f" (host {_text(host[1])})" if host else ""))
    return Application("FTP", _text(payload.partition(b"\r\n")[0].rstrip()))


def _text(line: bytes) -> str:
    return printable(line.decode(errors="replace"), LONGEST)


def _dns(data: bytes) -> Application:
    need(0, len(data), _DNS.size)
    _identifier, flags, questions, answers, _, _ = _DNS.unpack_from(data)
    subject, at = _question(data) if questions else ("nothing", _DNS.size)
    if not flags >> 15:
        return Application("DNS", f"asks for {subject}")
    code = flags & 0xF
    if code or not answers:
        return Application("DNS", f"answers {subject}: {_CODES.get(code, code) if code else 'nothing'}")
    found = _answers(data, at, min(answers, _SHOWN_ANSWERS))
    more = f" and {answers - len(found)} more" if answers > len(found) else ""
    return Application("DNS", f"answers {subject}: {', '.join(found)}{more}")


def _question(data: bytes) -> tuple[str, int]:
    name, at = _name(data, _DNS.size)
    need(at, len(data), _QUESTION.size)
    kind, _ = _QUESTION.unpack_from(data, at)
    return f"{_TYPES.get(kind, f'type {kind}')} {name}", at + _QUESTION.size


def _answers(data: bytes, at: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        _, at = _name(data, at)
        need(at, len(data), _RECORD.size)
        kind, _, _, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        need(at, len(data), length)
        found.append(_record(data, kind, at, length))
        at += length
    return found


def _record(data: bytes, kind: int, at: int, length: int) -> str:
    value = data[at : at + length]
    match _TYPES.get(kind), length:
        case "A", 4:
            return str(IPv4Address(value))
        case "AAAA", 16:
            return str(IPv6Address(value))
        case ("CNAME" | "NS" | "PTR") as name, _:
            return f"{name} {_name(data, at)[0]}"
        case name, _:
            return name or f"type {kind}"


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A domain name, and where it ends; pointers only lead backwards (RFC 1035 §4.1.4), so it ends."""
    labels: list[bytes] = []
    length, following, limit = 0, None, at
    while True:
        need(at, len(data), 1)
        size = data[at]
        if size >= 0xC0:
            need(at, len(data), 2)
            following = at + 2 if following is None else following
            at = int.from_bytes(data[at : at + 2], "big") & 0x3FFF
            if at >= limit:
                raise InputError("a name points forward")
            limit = at
            continue
        at += 1
        if not size:
            return _text(b".".join(labels)) or ".", at if following is None else following
        need(at, len(data), size)
        labels.append(data[at : at + size])
        at += size
        length += size + 1
        if size > 63 or length > _LONGEST_NAME:
            raise InputError("a name is too long")
