"""strongSwan's IKE daemon charon: found, started where none answers, and left running when the agent stops.

It is no child that dies with its parent: as long as it runs, the nodes renew their keys, and pods keep their network
while the agent is away. The next agent finds it by its socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from pathlib import Path

from nankeen.kernel.vici import Vici
from nankeen.model.errors import KernelError

SOCKET = Path("/var/run/charon.vici")
"""Where charon listens unless strongswan.conf says otherwise."""
PID_FILE = Path("/var/run/charon.pid")
_PATH = "/usr/lib/strongswan:/usr/lib/ipsec:/usr/libexec/strongswan:/usr/libexec/ipsec"
"""Where distributions put a program that is not for people."""

_SECONDS_TO_START = 15.0
_SECONDS_TO_STOP = 10.0
_RETRY_SECONDS = 0.1
_log = logging.getLogger(__name__)


class Charon:
    """The daemon of this network namespace."""

    def __init__(self, socket: Path = SOCKET, pid_file: Path = PID_FILE) -> None:
        self._socket = socket
        self._pid_file = pid_file
        self._child: int | None = None

    async def connect(self) -> Vici:
        """A connection to charon, which is started where it does not run. Raises `KernelError`."""
        try:
            return await Vici.connect(self._socket)
        except KernelError:
            self._start()
        try:
            async with asyncio.timeout(_SECONDS_TO_START):
                return await self._patiently()
        except TimeoutError as error:
            raise KernelError(
                f"charon was started, and does not listen after {_SECONDS_TO_START:g} s",
                where=str(self._socket),
                remedy="its plugin `vici` must be enabled; its log says more",
            ) from error

    async def _patiently(self) -> Vici:
        while True:
            try:
                return await Vici.connect(self._socket)
            except KernelError:
                if not self._runs():
                    raise KernelError("charon ended as soon as it was started", remedy="its log says why") from None
            await asyncio.sleep(_RETRY_SECONDS)

    def _start(self) -> None:
        program = find()
        if self._runs():
            return  # it is on its way
        _log.info("starting %s", program)
        streams = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, 2, 1),  # its log goes where the agent's goes
        ]
        self._child = os.posix_spawn(program, [program], os.environ, file_actions=streams, setsid=True)

    def _runs(self) -> bool:
        """Whether the charon that was started here still runs."""
        if self._child is not None and os.waitpid(self._child, os.WNOHANG) != (0, 0):
            self._child = None
        return self._child is not None

    async def stop(self) -> None:
        """Ends charon, whoever started it; its security associations go with it. None that runs is no error."""
        pid = _read_pid(self._pid_file)
        if pid is None:
            return
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            async with asyncio.timeout(_SECONDS_TO_STOP):
                await _ended(descriptor)
        except TimeoutError as error:
            raise KernelError(f"charon does not end after {_SECONDS_TO_STOP:g} s", where=f"process {pid}") from error
        finally:
            os.close(descriptor)
            self._runs()


def find() -> str:
    """The program's path. Raises `KernelError` where it is not installed."""
    path = shutil.which("charon") or shutil.which("charon", path=_PATH)
    if path is None:
        raise KernelError(
            "the program charon is not installed",
            remedy="install strongSwan: the package strongswan-charon on Debian and Ubuntu, strongswan elsewhere",
        )
    return path


def _read_pid(path: Path) -> int | None:
    """The process that the file names, where that is a charon."""
    try:
        pid = int(path.read_text(encoding="ascii"))
        running = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "charon"
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if running else None


async def _ended(descriptor: int) -> None:
    """Waits until the process behind a pidfd has ended: it is readable then (pidfd_open(2))."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
