"""Who holds which address, read from the directory of host-local's store: each file is named by an address.

A file that has not changed since it was last read is not read again: its inode and its time of change tell. So what is
found is what stood a moment ago; whoever removes a file because of it reads that one again before, under the lock.
"""

from __future__ import annotations

import os
import re
import stat
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

_Stamp = tuple[int, int, int]
"""A file's inode, time of change and size."""


@dataclass(frozen=True, slots=True)
class Holder:
    """One address that is held."""

    address: IPAddress
    attachment: Attachment
    """Its interface is "" where host-local before 0.7 wrote it, which knew of none."""
    since: float
    """When its file was written, in seconds since the epoch."""


class Holders:
    """The holders in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[_Stamp, Holder | None]] = {}

    def read(self) -> Mapping[IPAddress, Holder]:
        """Every address that somebody holds. Whatever else lies here is none of ours. Raises `OSError`."""
        before, self._known = self._known, {}
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if _ADDRESS.fullmatch(entry.name):
                    self._look(entry, before)
        return {holder.address: holder for _, holder in self._known.values() if holder is not None}

    def still(self, holder: Holder) -> bool:
        """Whether the address is still held as was found. Raises `OSError`."""
        try:
            return _parse_holder(read(self._directory / str(holder.address))) == holder.attachment
        except FileNotFoundError:
            return False

    def _look(self, entry: os.DirEntry[str], before: Mapping[str, tuple[_Stamp, Holder | None]]) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
            stamp = found.st_ino, found.st_ctime_ns, found.st_size
            known = before.get(entry.name)
            if known is None or known[0] != stamp:
                known = stamp, self._holder(entry, found)
        except FileNotFoundError:  # freed meanwhile, by somebody who has the lock while we have not
            return
        self._known[entry.name] = known

    @staticmethod
    def _holder(entry: os.DirEntry[str], found: os.stat_result) -> Holder | None:
        address = parse(entry.name)
        if address is None or not stat.S_ISREG(found.st_mode):
            return None
        attachment = _parse_holder(read(entry.path))
        return Holder(address, attachment, found.st_mtime) if attachment else None


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


def _parse_holder(content: bytes) -> Attachment | None:
    """Who holds an address, by its file; None where a crash left that empty."""
    container, _, interface = content.decode(errors="replace").strip().partition("\r\n")
    return Attachment(container, interface) if container else None
