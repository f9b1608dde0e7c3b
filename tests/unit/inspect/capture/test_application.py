"""What one packet tells of layer 7, also of hostile ones."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.inspect.capture.application import LONGEST, Application, application
from nankeen.model.packet import Tcp, Udp

DNS = Udp(40000, 53)


def name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def question(flags: int, answers: int, kind: int = 1) -> bytes:
    return struct.pack("!6H", 7, flags, 1, answers, 0, 0) + name("pod1.example") + struct.pack("!HH", kind, 1)


def record(kind: int, value: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(value)) + value


@pytest.mark.parametrize(
    "payload, text",
    [
        (b"GET /index.html HTTP/1.1\r\nHost: pod1\r\n\r\n", "GET /index.html HTTP/1.1 (host pod1)"),
        (b"HTTP/1.1 404 Not Found\r\nServer: x\r\n", "HTTP/1.1 404 Not Found"),
    ],
)
@pytest.mark.parametrize("port", [80, 8080, 9999])
def test_http_is_known_by_its_first_line_on_any_port(port: int, payload: bytes, text: str) -> None:
    assert application(Tcp(port, 40000), payload) == Application("HTTP", text)


@pytest.mark.parametrize(
    "payload, text", [(b"USER anonymous\r\n", "USER anonymous"), (b"230 Welcome\r\n", "230 Welcome")]
)
def test_ftp_is_known_on_its_port(payload: bytes, text: str) -> None:
    assert application(Tcp(40000, 21), payload) == Application("FTP", text)
    assert application(Tcp(40000, 2121), payload) is None


@pytest.mark.parametrize(
    "data, text",
    [
        (question(0x0100, 0), "asks for A pod1.example"),
        (question(0x0100, 0, kind=28), "asks for AAAA pod1.example"),
        (question(0x8183, 0), "answers A pod1.example: no such name"),
        (question(0x8180, 0), "answers A pod1.example: nothing"),
        (question(0x8180, 1) + record(1, bytes([10, 96, 0, 1])), "answers A pod1.example: 10.96.0.1"),
        (question(0x8180, 1) + record(28, bytes(15) + b"\1"), "answers A pod1.example: ::1"),
        (question(0x8180, 1) + record(5, name("a.b")), "answers A pod1.example: CNAME a.b"),
        (
            question(0x8180, 6) + record(1, bytes(4)) * 6,
            "answers A pod1.example: 0.0.0.0, 0.0.0.0, 0.0.0.0, 0.0.0.0 and 2 more",
        ),
    ],
)
def test_dns_is_told_by_question_and_answer(data: bytes, text: str) -> None:
    assert application(DNS, data) == Application("DNS", text)
    assert application(Tcp(53, 40000), len(data).to_bytes(2, "big") + data) == Application("DNS", text)


@pytest.mark.parametrize(
    "data, text",
    [
        (b"short", "malformed: cut short: 5 of at least 12 bytes"),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", "malformed: a name points forward"),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + b"\x3f" + bytes(10), "malformed: cut short: 10 of at least 63 bytes"),
        (struct.pack("!6H", 7, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 5, "malformed: a name is too long"),
    ],
)
def test_dns_that_makes_no_sense_is_told_as_such(data: bytes, text: str) -> None:
    assert application(DNS, data) == Application("DNS", text)


def test_a_line_is_cut_and_escaped() -> None:
    found = application(Tcp(1, 80), b"GET /\x1b[2J" + b"a" * 500 + b" HTTP/1.1\r\n")
    assert found is not None
    assert "\x1b" not in found.text
    assert len(found.text) < LONGEST + 50


@given(st.binary(max_size=300), st.sampled_from([21, 53, 80]), st.sampled_from([Tcp, Udp]))
def test_any_payload_can_be_shown(payload: bytes, port: int, kind: type[Tcp | Udp]) -> None:
    found = application(kind(1, port), payload)
    assert found is None or found.text.isprintable()
