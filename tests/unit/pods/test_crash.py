"""An address store whose process is killed: at every system call that it makes, one after the other.

A child process does one operation and ends itself by SIGKILL at the n-th call; then another one goes on with what it
left. That is repeated with n from 1 until the child comes to its end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from nankeen.cni.ranges import whole
from nankeen.pods.addresses import AddressStore, Attachment
from tests.crash import killed_at

POD, OTHER = Attachment("c0ffee", "eth0"), Attachment("decaf", "eth0")
SETS = whole([ip_network("10.5.34.0/29"), ip_network("fd00::/125")])
CALLS = [
    (os, name)
    for name in ("open", "write", "link", "unlink", "close", "ftruncate", "mkdir", "scandir", "read")
]  # fmt: skip
"""What the store asks of the system."""

Operation = Callable[[AddressStore], Coroutine[Any, Any, object]]


def _operate(operation: Operation, directory: Path) -> None:
    asyncio.new_event_loop().run_until_complete(operation(AddressStore(directory)))


def crashes(tmp_path: Path, operation: Operation, before: Operation | None = None) -> Iterator[AddressStore]:
    """What each crash leaves, in a directory of its own."""
    number, killed = 0, True
    while killed:
        number += 1
        directory = tmp_path / str(number) / "cbr0"
        if before is not None:
            asyncio.run(_run(before, AddressStore(directory)))
        killed = killed_at(number, partial(_operate, operation, directory), CALLS)
        yield AddressStore(directory)
    assert number > 10  # calls there were indeed


async def _run(operation: Operation, store: AddressStore) -> object:
    return await operation(store)


def _names(store: AddressStore) -> set[str]:
    directory = store._directory
    return {path.name for path in directory.iterdir() if path.name[0] in "1f"} if directory.is_dir() else set()


def _check(store: AddressStore) -> None:
    """Whatever was left: each address is held by whom its file names, another pod gets others, and all can go."""
    for holder in store.holders():
        assert holder.attachment in (POD, OTHER)
    mine = asyncio.run(store.reserve(POD, SETS))
    others = asyncio.run(store.reserve(OTHER, SETS))
    assert not set(mine.addresses) & set(others.addresses)
    assert len(_names(store)) == 4
    asyncio.run(store.release(POD))
    asyncio.run(store.release(OTHER))
    assert _names(store) == set()


def test_a_reservation_that_is_killed_anywhere_can_be_made_again_and_taken_back(tmp_path: Path) -> None:
    for store in crashes(tmp_path, lambda store: store.reserve(POD, SETS)):
        _check(store)


def test_a_reservation_that_is_killed_anywhere_can_be_taken_back_at_once(tmp_path: Path) -> None:
    for store in crashes(tmp_path, lambda store: store.reserve(POD, SETS)):
        asyncio.run(store.release(POD))
        assert _names(store) == set()


def test_a_release_that_is_killed_anywhere_can_be_done_again(tmp_path: Path) -> None:
    async def before(store: AddressStore) -> None:
        await store.reserve(POD, SETS)
        await store.reserve(OTHER, SETS)

    for store in crashes(tmp_path, lambda store: store.release(POD), before):
        asyncio.run(store.release(POD))
        assert {holder.attachment for holder in store.holders()} == {OTHER}
        _check(store)


def test_a_second_reservation_that_is_killed_anywhere_takes_nothing_from_the_first(tmp_path: Path) -> None:
    async def before(store: AddressStore) -> None:
        await store.reserve(OTHER, SETS)

    for store in crashes(tmp_path, lambda store: store.reserve(POD, SETS), before):
        assert len([holder for holder in store.holders() if holder.attachment == OTHER]) == 2
        _check(store)


@pytest.mark.parametrize("left", [b"", b"\r\n"])
def test_a_file_that_names_nobody_is_no_holder(tmp_path: Path, left: bytes) -> None:
    directory = tmp_path / "cbr0"
    directory.mkdir()
    (directory / "10.5.34.2").write_bytes(left)
    store = AddressStore(directory)
    assert store.holders() == ()
    found = asyncio.run(store.reserve(POD, SETS)).addresses[0]
    assert str(found.ip) == ("10.5.34.3" if left else "10.5.34.2")
