"""Watching a lab: from inside it, while commands outside change it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from nankeen.agent import health
from nankeen.inspect.capture.listen import Stop
from nankeen.inspect.inside import inside
from nankeen.inspect.party import Cluster
from nankeen.inspect.survey import survey_present
from nankeen.inspect.watch import Audience, Summary, Watch, Wish
from nankeen.lab import Lab, find_lab
from nankeen.lab.places import RECORD
from nankeen.lab.record import parse
from nankeen.model.errors import LabError


@dataclass(frozen=True, slots=True)
class Service:
    """Pages that are answered while it is watched."""

    listener: socket.socket
    pages: Mapping[str, health.Page] = field(default_factory=dict)


def watch_lab(lab: Lab, wish: Wish, stop: Stop, audience: Audience, service: Service | None = None) -> Summary:
    """Watches until that is enough. A child process does it, in which the audience is told.

    Raises `InputError` where the wish is of nobody, and `LabError` where the lab goes away.
    """
    with _record(lab) as read:

        def in_child() -> Summary:
            stop.hear_only()
            return asyncio.run(_attend(Watch(wish, lambda: _look(read()), audience), stop, service))

        try:
            return inside(lab, in_child)
        except LabError:
            find_lab(lab.name)  # a lab that has gone took the child along, and this error says so
            raise


async def _attend(watch: Watch, stop: Stop, service: Service | None) -> Summary:
    serving = asyncio.create_task(health.serve(service.listener, service.pages)) if service else None
    following = asyncio.create_task(watch.follow())
    asyncio.get_running_loop().add_reader(stop.heard, following.cancel)
    try:
        with suppress(asyncio.CancelledError):  # it was enough before it began
            await following
    finally:
        asyncio.get_running_loop().remove_reader(stop.heard)
        if serving:
            serving.cancel()
            await asyncio.wait([serving])
    return watch.summary


def _look(lab: Lab) -> tuple[Cluster, tuple[str, ...]]:
    if not lab.rootless and not lab.is_alive:  # a user's lab takes along who is in it
        raise _gone(lab)
    return survey_present(lab)


@contextmanager
def _record(lab: Lab) -> Iterator[Callable[[], Lab]]:
    """Reads the lab's record anew, also from inside, where its directory has no name."""
    try:
        directory = os.open(lab.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _gone(lab) from error

    def read() -> Lab:
        try:
            descriptor = os.open(RECORD, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            raise _gone(lab) from error
        with os.fdopen(descriptor) as file:
            return parse(file.read(), lab.directory)

    try:
        yield read
    finally:
        os.close(directory)


def _gone(lab: Lab) -> LabError:
    return LabError("went away while it was watched", where=f"lab {lab.name}")
