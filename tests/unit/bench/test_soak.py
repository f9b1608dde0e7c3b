"""What a soak takes for damage."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from bench import soak
from bench.soak import BLOCK, Checked


def _received(blocks: bytes) -> Checked:
    """What the receiver of stream 1 makes of these bytes."""
    sender, receiver = socket.socketpair()
    with sender, ThreadPoolExecutor(1) as workers:
        checked = workers.submit(soak.receive, receiver, 1, "one → other")
        with suppress(BrokenPipeError):  # it hangs up on what is wrong
            sender.sendall(blocks)
            sender.shutdown(socket.SHUT_WR)
        return checked.result()


def _sent(number: int) -> bytes:
    order = soak._order(number)
    return b"".join(soak._content()[next(order)] for _ in range(3))


def test_what_is_sent_is_what_the_receiver_of_the_same_stream_expects() -> None:
    assert _received(_sent(1)) == Checked("one → other", 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: BLOCK + 5] + bytes([data[BLOCK + 5] ^ 1]) + data[BLOCK + 6 :],
        lambda data: data[:BLOCK] + data[2 * BLOCK :] + data[BLOCK : 2 * BLOCK],
        lambda data: data[: BLOCK + 1000] + data[BLOCK + 1001 :],
        lambda data: data[: 2 * BLOCK - 1],
    ],
    ids=["a bit", "the order", "a byte left out", "an end cut off"],
)
def test_damage_after_the_first_block_ends_the_stream_there(damage: Callable[[bytes], bytes]) -> None:
    assert _received(damage(_sent(1))) == Checked("one → other", 1, "a block is not what was sent")


def test_another_stream_has_another_order() -> None:
    assert _received(_sent(2)).fault == "a block is not what was sent"


def test_a_stream_that_ends_well_but_too_soon_is_wrong() -> None:
    assert soak._judged(4, Checked("one → other", 3)).fault == "4 blocks were sent"
    assert soak._judged(3, Checked("one → other", 3)).fault == ""


def test_a_sender_sends_no_more_once_it_is_over() -> None:
    over = threading.Event()
    over.set()
    sender, receiver = socket.socketpair()
    with sender, receiver:
        assert soak.send(sender, 1, over) == 0
        assert receiver.recv(1) == b""
