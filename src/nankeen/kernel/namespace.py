"""Network namespaces: made, named, entered and removed, by the conventions of `ip netns` (ip-netns(8))."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from nankeen.kernel import syscalls
from nankeen.model.errors import KernelError

NAMED = Path("/run/netns")
"""Where `ip netns` keeps the namespaces that have a name."""

_NS_GET_NSTYPE = 0xB703
"""ioctl that tells a namespace's kind (linux/nsfs.h)."""


class Namespace:
    """A network namespace, held by an open descriptor: it lives at least as long as this object is open."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        """Takes over the descriptor. Raises `KernelError` where it is not one of a network namespace."""
        try:
            kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
        except OSError:
            kind = 0
        if kind != syscalls.CLONE_NEWNET:
            where = os.readlink(f"/proc/self/fd/{descriptor}")
            os.close(descriptor)
            raise KernelError("not a network namespace", where=where, errno=errno.EINVAL)
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The namespace at a path: /run/netns/NAME or /proc/PID/ns/net. Raises `KernelError`."""
        try:
            return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise KernelError(
                f"cannot open the network namespace: {error.strerror}", where=str(path), errno=error.errno or 0
            ) from error

    @property
    def inode(self) -> int:
        """What tells one namespace from another, as `ip netns identify` compares them."""
        return os.fstat(self.descriptor).st_ino

    def close(self) -> None:
        """Lets go of the namespace."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def current() -> Namespace:
    """The network namespace that this thread is in."""
    return Namespace.open(f"/proc/self/task/{threading.get_native_id()}/ns/net")


@contextmanager
def entered(namespace: Namespace | None) -> Iterator[None]:
    """This thread is in `namespace` inside the block: what it opens there (sockets, /proc/sys/net) belongs to it.

    For synchronous blocks only: an `await` inside would let other tasks run in the wrong place. None: stays as it is.
    """
    if namespace is None:
        yield
        return
    with current() as home:
        syscalls.setns(namespace.descriptor, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home.descriptor, syscalls.CLONE_NEWNET)


def create(name: str) -> Path:
    """Makes a namespace that `ip netns` lists under `name`. Raises `KernelError` where the name is taken."""
    path = NAMED / name
    prepare()
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    except FileExistsError:
        raise KernelError("a network namespace of that name exists", where=name, errno=errno.EEXIST) from None
    with current() as home:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            bind(path)
        except OSError as error:
            path.unlink()
            raise KernelError(
                f"cannot make a network namespace: {error.strerror}", where=name, errno=error.errno or 0
            ) from error
        finally:
            syscalls.setns(home.descriptor, syscalls.CLONE_NEWNET)
    return path


def bind(path: Path, pid: int | None = None) -> None:
    """Names the network namespace of a process (of this thread by default) by an existing file. Raises `OSError`."""
    process = f"/proc/{pid}" if pid is not None else f"/proc/self/task/{threading.get_native_id()}"
    syscalls.mount(f"{process}/ns/net", str(path), flags=syscalls.MS_BIND)


def prepare() -> None:
    """Makes /run/netns the shared mount that `ip netns` expects: a name is given or taken in all mount namespaces."""
    NAMED.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        syscalls.mount("", str(NAMED), flags=syscalls.MS_SHARED | syscalls.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        syscalls.mount(str(NAMED), str(NAMED), flags=syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount("", str(NAMED), flags=syscalls.MS_SHARED | syscalls.MS_REC)


def remove(name: str) -> None:
    """Takes the name away; the namespace goes when nothing uses it any more. A name that is not there is no error."""
    path = NAMED / name
    try:
        syscalls.umount(str(path))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise KernelError(
                f"cannot remove the network namespace: {error.strerror}", where=name, errno=error.errno or 0
            ) from error
    path.unlink(missing_ok=True)


def names() -> list[str]:
    """The namespaces that have a name, sorted."""
    return sorted(entry.name for entry in NAMED.iterdir()) if NAMED.is_dir() else []
