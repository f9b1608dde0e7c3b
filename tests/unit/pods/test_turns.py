"""Who is served when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from nankeen.pods.turns import Turns


class Diary:
    """What was begun and ended, in order; each request goes on when it is told to."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.lines: list[str] = []
        self.go: dict[str, asyncio.Event] = {}

    async def of(self, name: str, key: str) -> None:
        async with self.turns.of(key):
            await self._work(name)

    async def alone(self, name: str) -> None:
        async with self.turns.alone():
            await self._work(name)

    async def _work(self, name: str) -> None:
        self.lines.append(f"+{name}")
        await self.go.setdefault(name, asyncio.Event()).wait()
        self.lines.append(f"-{name}")

    async def settle(self) -> list[str]:
        """The lines since the last time, once nobody can go on by himself."""
        for _ in range(20):
            await asyncio.sleep(0)
        lines, self.lines = self.lines, []
        return lines

    async def let(self, name: str) -> list[str]:
        self.go.setdefault(name, asyncio.Event()).set()
        return await self.settle()


@pytest.fixture
def diary() -> Diary:
    return Diary()


async def test_requests_about_one_attachment_are_served_in_their_order(diary: Diary) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name in ("a1", "a2", "a3"):
            tasks.create_task(diary.of(name, "a"))
        assert await diary.settle() == ["+a1"]
        await diary.let("a2")
        assert await diary.let("a1") == ["-a1", "+a2", "-a2", "+a3"]
        assert await diary.let("a3") == ["-a3"]


async def test_others_are_served_at_the_same_time(diary: Diary) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name, key in (("a1", "a"), ("b1", "b"), ("a2", "a")):
            tasks.create_task(diary.of(name, key))
        assert await diary.settle() == ["+a1", "+b1"]
        assert await diary.let("b1") == ["-b1"]
        assert await diary.let("a1") == ["-a1", "+a2"]
        await diary.let("a2")


async def test_who_is_alone_waits_for_all_and_all_who_come_later_wait(diary: Diary) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(diary.of("a1", "a"))
        await diary.settle()
        tasks.create_task(diary.alone("all"))
        tasks.create_task(diary.of("b1", "b"))
        assert await diary.settle() == []
        assert await diary.let("a1") == ["-a1", "+all"]
        assert await diary.let("all") == ["-all", "+b1"]
        await diary.let("b1")


@pytest.mark.parametrize("begin", [lambda diary: diary.of("a1", "a"), lambda diary: diary.alone("all")])
async def test_who_gives_up_holds_up_nobody(diary: Diary, begin: Callable[[Diary], asyncio.Future[None]]) -> None:
    first = asyncio.ensure_future(begin(diary))
    waiting = asyncio.ensure_future(diary.of("a2", "a"))
    await diary.settle()
    waiting.cancel()
    first.cancel()
    await asyncio.wait([first, waiting])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(diary.alone("again"))
        assert await diary.let("again") == ["+again", "-again"]
    assert not diary.turns._turns
