"""VICI's packets and messages: as the plugin's README spells them, whatever comes, and with a charon made of paper."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.kernel import vici
from nankeen.kernel.vici import Section, Vici, decode, encode
from nankeen.model.errors import KernelError

README = (
    b"\x03\x04key1\x00\x06value1"
    b"\x01\x08section1"
    b"\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02"
    b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06"
    b"\x02"
)
names = st.text(max_size=40).filter(lambda name: len(name.encode()) < 256)
values = st.binary(max_size=80)
sections: st.SearchStrategy[Section] = st.recursive(
    st.dictionaries(names, values | st.lists(values, max_size=3), max_size=4),
    lambda inner: st.dictionaries(names, inner | values | st.lists(values, max_size=3), max_size=4),
    max_leaves=8,
)


def test_the_example_of_the_readme_is_written_and_read() -> None:
    assert encode({
        "key1": "value1",
        "section1": {"sub-section": {"key2": "value2"}, "list1": ["item1", b"item2"]},
    }) == README  # fmt: skip
    assert decode(README) == {
        "key1": b"value1",
        "section1": {"sub-section": {"key2": b"value2"}, "list1": [b"item1", b"item2"]},
    }


@given(sections)
def test_law_what_is_written_is_read_back(message: Section) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200) | st.lists(st.sampled_from([1, 2, 3, 4, 5, 6, 0]), max_size=100).map(bytes))
def test_law_whatever_comes_is_a_message_or_an_error(data: bytes) -> None:
    try:
        message = decode(data)
    except KernelError as error:
        assert "charon sent a message that is none" in str(error)  # noqa: PT017
    else:
        assert isinstance(message, dict)


@given(st.integers(0, len(README) - 1))
def test_law_a_message_cut_short_is_never_taken_for_the_whole(length: int) -> None:
    try:
        assert decode(README[:length]) != decode(README)
    except KernelError:
        return


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"\x02", "element 2 has no place here"),
        (b"\x05\x00\x01a", "element 5 has no place here"),
        (b"\x06", "element 6 has no place here"),
        (b"\x07", "element 7 has no place here"),
        (b"\x04\x01l\x03\x01k\x00\x00\x06", "something else stands in a list"),
        (b"\x04\x01l", "it ends too early"),
        (b"\x01\x01s", "it ends too early"),
        (b"\x03\x01k\xff\xffshort", "it ends too early"),
        (b"\x01\x01s" * 1000, "element 1 has no place here"),
    ],
)
def test_what_is_no_message_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(KernelError, match=reason):
        decode(data)


@pytest.mark.parametrize("message", [{"n" * 256: "v"}, {"n": b"v" * 65_536}])
def test_what_does_not_fit_is_refused_before_it_is_sent(message: dict[str, bytes | str]) -> None:
    with pytest.raises(ValueError, match="octets"):
        encode(message)


def packet(kind: int, message: bytes = b"", name: str = "") -> bytes:
    named = bytes([len(name)]) + name.encode() if name else b""
    return struct.pack("!I", 1 + len(named) + len(message)) + bytes([kind]) + named + message


@asynccontextmanager
async def charon(tmp_path: Path, answer: Callable[[bytes], bytes]) -> AsyncIterator[Vici]:
    """A connection to somebody who answers each packet so, and hangs up at an empty answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                told = answer(await reader.readexactly(length))
                writer.write(told)
                await writer.drain()
                if not told:
                    return
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "charon.vici")
    async with server:
        connection = await Vici.connect(tmp_path / "charon.vici")
        try:
            yield connection
        finally:
            connection.close()


async def test_a_command_is_answered(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def answer(said: bytes) -> bytes:
        heard.append(said)
        return packet(1, encode({"success": "yes", "keys": ["a", "b"]}))

    async with charon(tmp_path, answer) as connection:
        assert await connection.request("get-shared", {"x": "y"}) == {"success": b"yes", "keys": [b"a", b"b"]}
    assert heard == [b"\x00\x0aget-shared\x03\x01x\x00\x01y"]


async def test_events_that_come_in_between_are_passed_over(tmp_path: Path) -> None:
    told = packet(7, encode({"msg": "hello"}), name="log") + packet(1, encode({"done": "yes"}))
    async with charon(tmp_path, lambda _: told) as connection:
        assert await connection.request("stats", {}) == {"done": b"yes"}


async def test_commands_of_several_tasks_take_turns(tmp_path: Path) -> None:
    async with charon(tmp_path, lambda said: packet(1, encode({"name": said[2:]}))) as connection:
        answers = await asyncio.gather(*(connection.request(f"c{number}", {}) for number in range(9)))
    assert answers == [{"name": f"c{number}".encode()} for number in range(9)]


@pytest.mark.parametrize(
    "told, reason",
    [
        (packet(1, encode({"success": "no", "errmsg": "parsing failed"})), "load-conn: charon refused: parsing failed"),
        (packet(2), "charon does not know the command"),
        (packet(9), "charon sent a packet of type 9"),
        (b"\xff\xff\xff\xff", "charon sent a packet of 4294967295 octets"),
        (b"\0\0\0\0", "charon sent a packet of 0 octets"),
        (packet(1, b"\x09"), "charon sent a message that is none"),
        (b"", "charon does not answer any more"),
    ],
)
async def test_what_goes_wrong_is_told(tmp_path: Path, told: bytes, reason: str) -> None:
    async with charon(tmp_path, lambda _: told) as connection:
        with pytest.raises(KernelError, match=reason):
            await connection.request("load-conn", {})


async def test_a_connection_that_failed_is_known_to_be_closed(tmp_path: Path) -> None:
    async with charon(tmp_path, lambda _: b"") as connection:
        assert connection.is_open
        with pytest.raises(KernelError):
            await connection.request("stats", {})
        assert not connection.is_open


async def test_a_charon_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vici, "_SECONDS", 0.01)
    async with charon(tmp_path, lambda _: b"\0") as connection:
        with pytest.raises(KernelError, match="charon does not answer any more"):
            await connection.request("stats", {})


async def test_nobody_at_the_socket_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"charon.vici: charon does not answer: No such file"):
        await Vici.connect(tmp_path / "charon.vici")
