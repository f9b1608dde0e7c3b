"""Which commands have run since the node was booted: a directory with a small file for each, replaced whole.

It is for this boot alone: what commands do to the kernel is gone after the next. Only the agent may write there, for it
executes what it reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from nankeen.model.address import parse_network
from nankeen.model.errors import InputError
from nankeen.model.hook import Command, Hook

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_HOOK = "peer-"


class Record:
    """What has run. Each method raises `InputError` where the directory cannot be used."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._boot = _BOOT_ID.read_text(encoding="ascii").strip()

    def output(self, name: str, command: Command) -> str | None:
        """What the command printed that was noted under this name; None where it was another one, or none."""
        found = self._read(self._directory / f"{name}.json")
        if found is None or found.get("command") != _document(command):
            return None
        output = found.get("output")
        return output if isinstance(output, str) else None

    def note(self, name: str, command: Command, output: str) -> None:
        """Notes that a command has run."""
        self._write(f"{name}.json", {"command": _document(command), "output": output})

    def hooks(self) -> Iterator[Hook]:
        """The peers that commands have run for."""
        for path in sorted(self._directory.glob(f"{_HOOK}*.json")):
            found = self._read(path)
            if found is not None:
                yield _hook(found, path)

    def add(self, hook: Hook) -> None:
        self._write(
            _file_name(hook),
            {
                "peer": hook.peer,
                "subnets": [str(subnet) for subnet in hook.subnets],
                "add": _document(hook.add),
                "remove": _document(hook.remove),
            },
        )

    def remove(self, hook: Hook) -> None:
        (self._directory / _file_name(hook)).unlink(missing_ok=True)

    def forget(self, *names: str) -> None:
        """Removes the notes under these names, and those of all peers."""
        for path in (*self._directory.glob(f"{_HOOK}*.json"), *(self._directory / f"{name}.json" for name in names)):
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, object] | None:
        """A note; None where there is none of this boot."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _damaged(path) from error
        if not isinstance(found, dict):
            raise _damaged(path)
        return found if found.get("boot") == self._boot else None

    def _write(self, name: str, note: dict[str, object]) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._directory / f".{name}.{os.getpid()}"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"boot": self._boot, **note}, file)
            draft.replace(self._directory / name)
        except OSError as error:
            raise InputError(f"what has run cannot be noted: {error.strerror}", where=str(self._directory)) from error


def _file_name(hook: Hook) -> str:
    subnets = "+".join(str(subnet).replace("/", "-") for subnet in hook.subnets)
    return f"{_HOOK}{subnets}.json"


def _document(command: Command | None) -> object:
    if command is None:
        return None
    return {"arguments": [*command.arguments], "variables": dict(command.variables), "input": command.input}


def _hook(note: dict[str, object], path: Path) -> Hook:
    peer, subnets = note.get("peer"), note.get("subnets")
    if not isinstance(peer, str) or not isinstance(subnets, list):
        raise _damaged(path)
    try:
        networks = tuple(parse_network(str(subnet)) for subnet in subnets)
    except InputError as error:
        raise _damaged(path) from error
    return Hook(peer, networks, _command(note.get("add"), path), _command(note.get("remove"), path))


def _command(document: object, path: Path) -> Command | None:
    match document:
        case None:
            return None
        case {"arguments": list(arguments), "variables": dict(variables), "input": str(text)}:
            words = tuple(map(str, arguments))
            return Command(words, tuple((str(name), str(value)) for name, value in variables.items()), text)
    raise _damaged(path)


def _damaged(path: Path) -> InputError:
    return InputError("it is no note of what has run", where=str(path), remedy="remove it: the command runs again then")
