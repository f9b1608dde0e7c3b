"""Who holds which address, read from the directory of host-local's store: each file is named by an address.

A file is written once, so that one of the same name and inode is not read again. Another program may have made it anew
meanwhile: whoever removes a file because of what is found here reads it again before, under the lock, and whoever finds
nothing reads all afresh.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from nankeen.cni.request import Attachment
from nankeen.model.address import IPAddress

_ADDRESS = re.compile(r"[0-9a-f.:]+")
"""What is worth opening; many names are looked at, and few are the right one."""
_MAX_HOLDER = 1024
"""Longest content that is read, in bytes: a container ID and an interface name are far shorter."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One address that is held."""

    address: IPAddress
    attachment: Attachment
    """Its interface is "" where host-local before 0.7 wrote it, which knew of none."""
    since: float
    """When its file was written, in seconds since the epoch."""
    inode: int
    """Its file's."""


class Holders:
    """The holders in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, Holder] = {}

    def read(self, *, afresh: bool = False) -> Mapping[str, Holder]:
        """Every address that somebody holds, by its text; `afresh` reads all files again. Raises `OSError`.

        Whatever else lies here is none of ours.
        """
        before: Mapping[str, Holder] = {} if afresh else self._known
        found: dict[str, Holder] = {}
        with os.scandir(self._directory) as entries:
            for entry in entries:
                known = before.get(entry.name)
                if known is None or known.inode != entry.inode():
                    known = _look(entry)
                if known is not None:
                    found[entry.name] = known
        self._known = found
        return found

    def still(self, holder: Holder) -> bool:
        """Whether the address is still held as was found. Raises `OSError`."""
        try:
            return _parse_holder(read(self._directory / str(holder.address))) == holder.attachment
        except FileNotFoundError:
            return False


def read(path: str | Path) -> bytes:
    """The beginning of a small file, which is no symbolic link. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_HOLDER)
    finally:
        os.close(descriptor)


def parse(name: str) -> IPAddress | None:
    """The address of that name, where it is written the one way that addresses are (RFC 5952)."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return address if str(address) == name else None


def _look(entry: os.DirEntry[str]) -> Holder | None:
    """The holder that a file tells of; None where it is no such file, or not written yet."""
    address = parse(entry.name) if _ADDRESS.fullmatch(entry.name) else None
    if address is None or not entry.is_file(follow_symlinks=False):
        return None
    try:
        written = entry.stat(follow_symlinks=False).st_mtime
        attachment = _parse_holder(read(entry.path))
    except FileNotFoundError:  # freed meanwhile, by somebody who has the lock while we have not
        return None
    return Holder(address, attachment, written, entry.inode()) if attachment else None


def _parse_holder(content: bytes) -> Attachment | None:
    """Who holds an address, by its file; None where a crash left that empty."""
    container, _, interface = content.decode(errors="replace").strip().partition("\r\n")
    return Attachment(container, interface) if container else None
