"""Files that a command writes for other programs: whole or not at all, so that nobody reads half of one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nankeen.cni import wholefile
from nankeen.model.errors import InputError, KernelError
from nankeen.model.printable import printable


class OutFile:
    """A file that can be written, also from inside a lab whose mounts are others: its directory is held open."""

    def __init__(self, path: str) -> None:
        """Raises `InputError` where it cannot be written."""
        self._shown = printable(path)
        self._descriptor, self._name = self._open(path)

    def write(self, content: bytes) -> None:
        """Puts that in its place. Raises `KernelError`: it could be written at the beginning."""
        try:
            if self._name is None:
                _write_all(self._descriptor, content)
            else:
                wholefile.put(Path(f"/proc/self/fd/{self._descriptor}", self._name), content, 0o644)
        except OSError as error:
            reason = error.strerror or str(error)
            raise KernelError(_problem(reason), where=self._shown, errno=error.errno or 0) from error

    def _open(self, path: str) -> tuple[int, str | None]:
        """A directory and the file's name in it, or a descriptor of what is no regular file: a pipe, a terminal."""
        try:
            found = Path(path).resolve()
            if found.is_dir():
                raise self._refusal("it is a directory")
            if found.exists() and not stat.S_ISREG(found.stat().st_mode):
                return os.open(found, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC), None
            directory = os.open(found.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from error
        except (ValueError, RuntimeError) as error:  # a zero octet; links that go round in circles
            raise self._refusal(str(error)) from error
        if not os.access(found.parent, os.W_OK | os.X_OK):
            os.close(directory)
            raise self._refusal("the directory does not allow it")
        return directory, found.name

    def _refusal(self, reason: str) -> InputError:
        return InputError(_problem(reason), where=self._shown)


def _problem(reason: str) -> str:
    return f"cannot be written: {reason[:1].lower()}{reason[1:]}"


def _write_all(descriptor: int, content: bytes) -> None:
    os.set_blocking(descriptor, True)
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
