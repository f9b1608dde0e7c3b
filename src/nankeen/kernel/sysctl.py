"""Kernel settings under /proc/sys. Those below net/ belong to the network namespace of the thread that opens them."""

from __future__ import annotations

import os

from nankeen.model.errors import KernelError

_ROOT = "/proc/sys/"


def read(path: str) -> str | None:
    """The setting's value, or None where there is no such setting (the device is gone, or the family is off)."""
    try:
        with open(_ROOT + path, encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write(path: str, value: str) -> None:
    """Sets it. Raises `KernelError`."""
    try:
        descriptor = os.open(_ROOT + path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelError(f"cannot set {path} = {value}: {error.strerror}", errno=error.errno or 0) from error
