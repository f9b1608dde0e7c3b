"""The addresses that pods hold, one file for each: host-local's store, so either plugin can take over from the other.

    <directory>/10.244.1.7            who holds it: container ID, CR LF, interface name
    <directory>/last_reserved_ip.0    the address handed out last, for each range set (round robin goes on after it)
    <directory>/lock                  flock(2)'ed for each operation

A file is complete before it has its name, so a crash leaves no holder half written; at whatever instruction it comes,
an address is free, or held by whom its file names, and what was half done is done or undone by the next request of the
same attachment. Nothing is synchronised to the disk: a power failure that loses a file has ended the pod as well.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nankeen.cni.error import CniError, Code
from nankeen.cni.ranges import RangeSet, after, describe, holding
from nankeen.cni.request import Attachment
from nankeen.model.address import IPAddress, IPInterface
from nankeen.pods.holders import Holder, Holders, parse, read

__all__ = ["AddressStore", "Attachment", "Reservation"]

LOCK_SECONDS = 10.0
"""How long another process may hold the lock before a request is refused."""
_LOCK_PAUSE = 0.005
_DRAFT = ".nankeen"


@dataclass(frozen=True, slots=True)
class Reservation:
    """An attachment's addresses, one of each range set, in the sets' order."""

    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...]
    """Of each address's range."""
    fresh: tuple[IPAddress, ...]
    """Those of the addresses that it did not have before."""


class AddressStore:
    """The addresses of one network on this node. Every method raises `OSError`, and `CniError` without the lock."""

    def __init__(self, directory: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        """`directory` is made when it is first needed; host-local's is /var/lib/cni/networks/<network name>."""
        self._directory = directory
        self._lock_seconds = lock_seconds
        self._holders = Holders(directory)

    async def reserve(
        self, attachment: Attachment, sets: Sequence[RangeSet], requested: Sequence[IPAddress] = ()
    ) -> Reservation:
        """An address of each set, or of none: those that are requested, else those it holds already, else free ones.

        Raises `CniError` where a set has no free address, and where a requested one is not to be had.
        """
        wanted = _share_out(sets, requested)
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        async with self._locked():
            holders = self._holders.read()
            held = self._held(attachment, holders)
            fresh: list[IPAddress] = []
            found: list[IPAddress] = []
            try:
                for index, ranges in enumerate(sets):
                    address = _standing(ranges, held, wanted[index])
                    if address is None:
                        address = self._take_one(ranges, index, wanted[index], attachment, holders)
                        fresh.append(address)
                    found.append(address)
            except BaseException:
                self._unlink(fresh)
                raise
        places = [(holding(ranges, address), address) for ranges, address in zip(sets, found, strict=True)]
        return Reservation(
            addresses=tuple(place.interface(address) for place, address in places if place),
            gateways=tuple(place.gateway for place, _ in places if place),
            fresh=tuple(fresh),
        )

    async def release(self, *attachments: Attachment) -> tuple[IPAddress, ...]:
        """Frees what the attachments hold, and returns it; nothing held is no error."""
        if not self._directory.is_dir():
            return ()
        async with self._locked():
            held = self._look_for(attachments)
            self._unlink(held)
            return held

    async def held(self, *attachments: Attachment) -> tuple[IPAddress, ...]:
        """What the attachments hold."""
        if not self._directory.is_dir():
            return ()
        async with self._locked():
            return self._look_for(attachments)

    async def free(self, addresses: Sequence[IPAddress]) -> None:
        """Frees these addresses, whoever holds them; one that nobody holds is no error."""
        async with self._locked():
            self._unlink(addresses)

    async def forget(self, holders: Iterable[Holder]) -> tuple[IPAddress, ...]:
        """Frees what is still held so, and returns it."""
        async with self._locked():
            freed = tuple(holder.address for holder in holders if self._holders.still(holder))
            self._unlink(freed)
            return freed

    def holders(self) -> tuple[Holder, ...]:
        """Who holds what now. Without the lock: what is being written is left out."""
        return tuple(self._holders.read().values()) if self._directory.is_dir() else ()

    def attachments(self) -> frozenset[Attachment]:
        """Whatever holds an address now, by its interface too. Without the lock, as `holders`."""
        return frozenset(holder.attachment for holder in self.holders() if holder.attachment.interface)

    def _take_one(
        self,
        ranges: RangeSet,
        index: int,
        requested: IPAddress | None,
        attachment: Attachment,
        holders: Mapping[str, Holder],
    ) -> IPAddress:
        """A free address of a set; the requested one where there is one. Raises `CniError`."""
        for address in after(ranges, self._last_reserved(index)) if requested is None else [requested]:
            if str(address) not in holders and self._take(address, index, attachment):
                return address
        if requested is not None:
            problem = f"requested IP address {requested} is not available in range set {describe(ranges)}"
            raise CniError(Code.ADDRESSES_EXHAUSTED, problem, where=str(self._directory))
        problem = f"failed to allocate for range {index}: no IP addresses available in range set: {describe(ranges)}"
        remedy = "addresses come back as pods end"
        raise CniError(Code.ADDRESSES_EXHAUSTED, problem, where=str(self._directory), remedy=remedy)

    def _take(self, address: IPAddress, index: int, attachment: Attachment) -> bool:
        path = self._directory / str(address)
        if _is_empty(path):
            path.unlink()  # nobody is writing, for we have the lock: a crash left it
        self._write_last_reserved(index, address)
        draft = self._directory / _DRAFT
        try:
            _write_draft(draft, attachment.content)
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _look_for(self, attachments: Collection[Attachment]) -> tuple[IPAddress, ...]:
        held = self._all_held(attachments, self._holders.read())
        return held or self._all_held(attachments, self._holders.read(afresh=True))

    def _all_held(self, attachments: Iterable[Attachment], holders: Mapping[str, Holder]) -> tuple[IPAddress, ...]:
        return tuple(address for item in attachments for address in self._held(item, holders))

    def _held(self, attachment: Attachment, holders: Mapping[str, Holder]) -> tuple[IPAddress, ...]:
        own = [item for item in holders.values() if item.attachment.container == attachment.container]
        found = [item for item in own if item.attachment.interface == attachment.interface]
        if not found:  # host-local before 0.7 knew of no interface
            found = [item for item in own if not item.attachment.interface]
        held = [item.address for item in found if self._holders.still(item)]
        return tuple(sorted(held, key=lambda address: (address.version, address)))

    def _unlink(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            (self._directory / str(address)).unlink(missing_ok=True)

    def _last_reserved(self, index: int) -> IPAddress | None:
        try:
            return parse(read(self._directory / f"last_reserved_ip.{index}").decode("ascii", "replace"))
        except FileNotFoundError:
            return None

    def _write_last_reserved(self, index: int, address: IPAddress) -> None:
        """Written over in place: half of it is no harm, and some file systems take a millisecond to replace a file."""
        content = str(address).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._directory / f"last_reserved_ip.{index}", flags, 0o600)
        try:
            _write_all(descriptor, content)
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Holds the lock. What is done inside waits for nothing, so it is other processes alone that one waits for."""
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


def _share_out(sets: Sequence[RangeSet], requested: Sequence[IPAddress]) -> list[IPAddress | None]:
    """The address that is requested of each set, if any. Raises `CniError` where one is of none, or two are of one."""
    left = list(requested)
    wanted: list[IPAddress | None] = []
    for ranges in sets:
        mine = [address for address in left if holding(ranges, address)]
        wanted.append(mine[0] if mine else None)
        left = [address for address in left if address not in mine[:1]]
        place = holding(ranges, mine[0]) if mine else None
        if place is not None and place.gateway == mine[0]:
            problem = f"requested IP {mine[0]} is subnet's gateway"
            raise CniError(Code.INVALID_CONFIG, problem, where="requested IPs")
    if left:
        problem = f"failed to allocate all requested IPs: {', '.join(map(str, left))}"
        ranges_told = "; ".join(map(describe, sets))
        raise CniError(Code.INVALID_CONFIG, problem, remedy=f"one of each set can be asked for: {ranges_told}")
    return wanted


def _standing(ranges: RangeSet, held: Iterable[IPAddress], requested: IPAddress | None) -> IPAddress | None:
    """The address of a set that is held already. Raises `CniError` where another one is requested."""
    places = ((holding(ranges, address), address) for address in held)
    found = next((address for place, address in places if place and place.gateway != address), None)
    if found is not None and requested not in (None, found):
        problem = f"requested IP address {requested}, but the attachment holds {found} already"
        raise CniError(Code.ADDRESSES_EXHAUSTED, problem, remedy="DEL it first")
    return found


def _write_draft(draft: Path, content: bytes) -> None:
    """A complete file without its name yet. One is enough, under the lock.

    A crash may have left it, as another name of an address's file: it is made anew and never written over.
    """
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    """Raises `OSError`, also where only a part fits on the disk."""
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_empty(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and not found.st_size
