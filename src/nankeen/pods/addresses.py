"""The addresses that pods hold, one file for each: host-local's store, so either plugin can take over from the other.

    <directory>/10.244.1.7            who holds it: container ID, CR LF, interface name
    <directory>/last_reserved_ip.0    the address handed out last, for each range (round robin goes on after it)
    <directory>/lock                  flock(2)'ed for each operation

A range is a pod subnet without its own address, the gateway and, in IPv4, the broadcast address. A file is complete
before it has its name, so a crash leaves no holder half written. Nothing is synchronised to the disk: a power failure
that loses a file has ended the pod as well.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from nankeen.cni.error import CniError, Code
from nankeen.model.address import IPAddress, IPInterface, IPNetwork
from nankeen.pods.network import gateway, interface_address

LOCK_SECONDS = 10.0
"""How long another process may hold the lock before a request is refused."""
_LOCK_PAUSE = 0.005
_DRAFT = ".nankeen"
_ADDRESS = re.compile(r"[0-9a-f.:]+")
"""What is worth opening; many names are looked at, and few are the right one."""
_MAX_HOLDER = 1024
"""Longest content that is read, in bytes: a container ID and an interface name are far shorter."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What holds an address: a pod's interface, within one network."""

    container: str
    interface: str

    @property
    def content(self) -> bytes:
        """What an address's file says of its holder."""
        return f"{self.container}\r\n{self.interface}".encode()


@dataclass(frozen=True, slots=True)
class Reservation:
    """An attachment's addresses, one in each subnet, in the subnets' order."""

    addresses: tuple[IPInterface, ...]
    fresh: tuple[IPAddress, ...]
    """Those of them that it did not have before."""


class AddressStore:
    """The addresses of one network on this node. Every method raises `OSError`, and `CniError` without the lock."""

    def __init__(self, directory: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        """`directory` is made when it is first needed; host-local's is /var/lib/cni/networks/<network name>."""
        self._directory = directory
        self._lock_seconds = lock_seconds

    async def reserve(self, attachment: Attachment, subnets: Sequence[IPNetwork]) -> Reservation:
        """An address in each subnet, or in none: those the attachment holds already, else free ones.

        Raises `CniError` where a subnet has no free address.
        """
        async with self._locked():
            held = self._held(attachment)
            found: list[IPInterface] = []
            fresh: list[IPAddress] = []
            try:
                for index, subnet in enumerate(subnets):
                    usable = _Range(subnet)
                    address = next((item for item in held if item in usable), None)
                    if address is None:
                        address = self._take_free(usable, index, attachment)
                        fresh.append(address)
                    found.append(interface_address(address, subnet))
            except BaseException:
                self._unlink(fresh)
                raise
            return Reservation(tuple(found), tuple(fresh))

    async def release(self, attachment: Attachment) -> tuple[IPAddress, ...]:
        """Frees what the attachment holds, and returns it; nothing held is no error."""
        async with self._locked():
            held = self._held(attachment)
            self._unlink(held)
            return held

    async def free(self, addresses: Sequence[IPAddress]) -> None:
        """Frees these addresses, whoever holds them; one that nobody holds is no error."""
        async with self._locked():
            self._unlink(addresses)

    def attachments(self) -> frozenset[Attachment]:
        """Whatever holds an address now, by its interface too. Without the lock: what is being written is left out."""
        holders = [content.decode(errors="replace").split("\r\n") for _, content in self._entries()]
        return frozenset(Attachment(*holder) for holder in holders if len(holder) == 2)

    def _take_free(self, usable: _Range, index: int, attachment: Attachment) -> IPAddress:
        for address in usable.after(self._last_reserved(index)):
            if self._take(address, attachment):
                self._write_last_reserved(index, address)
                return address
        problem = f"failed to allocate for range {index}: no IP addresses available in range set: {usable}"
        remedy = "addresses come back as pods end"
        raise CniError(Code.ADDRESSES_EXHAUSTED, problem, where=str(self._directory), remedy=remedy)

    def _take(self, address: IPAddress, attachment: Attachment) -> bool:
        path = self._directory / str(address)
        if _is_empty(path):
            path.unlink()  # nobody is writing, for we have the lock: a crash left it
        elif path.exists():
            return False
        draft = self._write_draft(attachment.content)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def _held(self, attachment: Attachment) -> tuple[IPAddress, ...]:
        entries = list(self._entries())
        names = [name for name, content in entries if content == attachment.content]
        if not names:  # host-local before 0.7 knew of no interface
            names = [name for name, content in entries if content == attachment.container.encode()]
        held = [address for name in names if (address := _parse(name)) is not None]
        return tuple(sorted(held, key=lambda address: (address.version, address)))

    def _entries(self) -> Iterator[tuple[str, bytes]]:
        """Files named as an address may be, and what they say; whatever else lies here is none of ours."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if _ADDRESS.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry.name, _read(entry.path).strip()

    def _unlink(self, addresses: Sequence[IPAddress]) -> None:
        for address in addresses:
            (self._directory / str(address)).unlink(missing_ok=True)

    def _last_reserved(self, index: int) -> IPAddress | None:
        try:
            return _parse(_read(self._directory / f"last_reserved_ip.{index}").decode("ascii", "replace"))
        except FileNotFoundError:
            return None

    def _write_last_reserved(self, index: int, address: IPAddress) -> None:
        """Written over in place: half of it is no harm, and some file systems take a millisecond to replace a file."""
        content = str(address).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._directory / f"last_reserved_ip.{index}", flags, 0o600)
        try:
            os.write(descriptor, content)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)

    def _write_draft(self, content: bytes) -> Path:
        """A complete file without its name yet. One is enough, under the lock.

        A crash may have left it, as another name of an address's file: it is made anew and never written over.
        """
        draft = self._directory / _DRAFT
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return draft

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Holds the lock. What is done inside waits for nothing, so it is other processes alone that one waits for."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._directory / "lock", flags, 0o600)
        try:
            await self._flock(descriptor)
            yield
        finally:
            os.close(descriptor)

    async def _flock(self, descriptor: int) -> None:
        deadline = asyncio.get_running_loop().time() + self._lock_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() >= deadline:
                    problem = f"another process has held the lock for {self._lock_seconds:g} s"
                    raise CniError(Code.TRY_AGAIN_LATER, problem, where=str(self._directory / "lock")) from None
            else:
                return
            await asyncio.sleep(_LOCK_PAUSE)


class _Range:
    """The addresses of a subnet that pods may have: without the gateway, which is before the first."""

    def __init__(self, subnet: IPNetwork) -> None:
        """Raises `CniError` where the subnet is too small for a pod."""
        last = -2 if subnet.version == 4 else -1
        if subnet.num_addresses < 4:
            problem = f"subnet {subnet} is too small to hand out addresses of"
            raise CniError(Code.INVALID_CONFIG, problem, remedy="it needs four at least")
        self._subnet = subnet
        self._first, self._last = int(subnet[2]), int(subnet[last])

    def __contains__(self, address: IPAddress) -> bool:
        return address.version == self._subnet.version and self._first <= int(address) <= self._last

    def after(self, last: IPAddress | None) -> Iterator[IPAddress]:
        """Every address once, beginning with the one after `last`, or with the first."""
        start = int(last) + 1 if last is not None and last in self else self._first
        base = int(self._subnet.network_address)
        for number in range(start, self._last + 1):
            yield self._subnet[number - base]
        for number in range(self._first, start):
            yield self._subnet[number - base]

    def __str__(self) -> str:
        return f"{gateway(self._subnet)}-{self._subnet[-2 if self._subnet.version == 4 else -1]}"


def _parse(name: str) -> IPAddress | None:
    """The address of that name, where it is written the one way that addresses are (RFC 5952)."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return address if str(address) == name else None


def _is_empty(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and not found.st_size


def _read(path: str | Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_HOLDER)
    finally:
        os.close(descriptor)
