"""The udp backend's data path: a process that outlives the agent, found or started, told what to do, and watched.

The kernel keeps the device, its address and its routes; the process carries the packets. An agent that starts finds the
process of the one before by its socket, and tells it nothing new: no packet is lost. Where it dies it is started again
at once, and, if it cannot live, after longer and longer pauses. When nothing is desired of it any more, it ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import nankeen
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.errors import KernelError
from nankeen.model.printable import printable
from nankeen.model.state import State
from nankeen.model.tunnel import TunnelSocket
from nankeen.tunnel import ending
from nankeen.tunnel.client import Client, report_now
from nankeen.tunnel.control import VERSION, Change, Report, Settings

PROGRAM = (sys.executable, "-P", "-m", "nankeen.tunnel")
"""It takes `--socket PATH`, listens there, and waits to be told more."""

STEADY_SECONDS = 10.0
"""Who lived that long died of something new: it is started again at once."""
_LONGEST_PAUSE = 30.0
_SECONDS_TO_START = 15.0
_RETRY_SECONDS = 0.02
_SECONDS_TO_REPORT = 0.5
"""The agent waits for it."""
_LONGEST_LOG = 1 << 20

_log = logging.getLogger(__name__)


class DataPath:
    """The one of this node. `converge` is called by one task at a time."""

    def __init__(self, netlink: NetlinkSocket, socket: Path, log: Path) -> None:
        """`socket` is where it is told, and `log` the file that it writes what it has to say to."""
        self._netlink = netlink
        self._socket = socket
        self._log = log
        self._client: Client | None = None
        self._child: int | None = None
        self._begun = 0.0
        self._failures = 0
        self._told: Settings | None = None
        self._index: int | None = None
        """That of the device when the process was told of it: one that was made anew has another."""
        self._wanted = True
        """Whether there is one, as far as is known; the first look tells."""
        self._looked = asyncio.Event()

    async def converge(self, desired: State) -> None:
        """Has the process do what is desired. Raises `KernelError`."""
        settings = _settings(desired)
        if settings is None:
            await self._end()
            return
        self._wanted = True
        try:
            client = await self._connected()
            await self._tell(client, settings)
        except KernelError:
            self._told = None
            raise
        finally:
            self._looked.set()

    async def lost(self) -> None:
        """Returns when the process has died, or could not be started, and it is time to try again."""
        while True:
            await self._looked.wait()
            self._looked.clear()
            if self._client is not None and self._client.is_open:
                await self._client.ended()
            if self._wanted:
                break
        self._failures = 0 if time.monotonic() - self._begun > STEADY_SECONDS else self._failures + 1
        if self._client is not None:
            _log.error("the data path ended%s", _last_words(self._log))
        await asyncio.sleep(_pause(self._failures))
        self._looked.clear()  # who is called now looks again

    def report(self) -> Report | None:
        """What the process has done, asked now; None where there is none, or it does not answer at once."""
        if self._told is None:
            return None
        try:
            return report_now(self._socket, _SECONDS_TO_REPORT)
        except KernelError as error:
            _log.warning("%s", error)
            return None

    def close(self) -> None:
        """Lets go of the process, which goes on."""
        if self._client is not None:
            self._client.close()

    async def _connected(self) -> Client:
        if self._client is None or not self._client.is_open:
            self.close()
            self._told = self._client = None
            self._reap()
            self._client = await self._find() or await self._start()
        return self._client

    async def _find(self) -> Client | None:
        """The process that an earlier agent left, if it runs the code that we would start; another is ended."""
        try:
            client = await Client.connect(self._socket)
        except KernelError:
            return None
        try:
            version = (await client.report()).version
        except KernelError as error:
            version = f"unknown: {error.problem}"
        if version == VERSION:
            _log.info("the data path runs, process %d", client.pid)
            return client
        _log.warning("replacing the data path, process %d, version %s", client.pid, printable(version))
        await ending.end(client)
        return None

    async def _start(self) -> Client:
        """A new process. Raises `KernelError`."""
        self._child, self._begun = _spawn(self._socket, self._log), time.monotonic()
        _log.info("started the data path, process %d", self._child)
        try:
            async with asyncio.timeout(_SECONDS_TO_START):
                return await self._patiently()
        except TimeoutError as error:
            reason = f"the data path does not listen after {_SECONDS_TO_START:g} s"
            raise KernelError(reason, where=str(self._socket), remedy=f"{self._log} says more") from error

    async def _patiently(self) -> Client:
        while True:
            try:
                return await Client.connect(self._socket)
            except KernelError:
                if self._reap():
                    problem = f"the data path ended as soon as it was started{_last_words(self._log)}"
                    raise KernelError(problem, remedy=f"{self._log} says more") from None
            await asyncio.sleep(_RETRY_SECONDS)

    def _reap(self) -> bool:
        """Whether the process that was started here is no more."""
        if self._child is not None and os.waitpid(self._child, os.WNOHANG) != (0, 0):
            self._child = None
        return self._child is None

    async def _tell(self, client: Client, settings: Settings) -> None:
        """What the process does not know yet."""
        index, told = self._netlink.index(settings.device), self._told
        if told is None or index != self._index or _besides_peers(told) != _besides_peers(settings):
            await client.configure(settings)
        elif told.peers != settings.peers:
            await client.change(_change(told, settings))
        self._told, self._index = settings, index

    async def _end(self) -> None:
        """Ends the process, also one that an agent before us left."""
        if not self._wanted:
            return
        try:
            client = self._client if self._client and self._client.is_open else await Client.connect(self._socket)
        except KernelError:
            client = None
        if self._client is not None and self._client is not client:
            self._client.close()
        self._wanted, self._told, self._client = False, None, None
        if client is not None:
            _log.info("ending the data path, process %d", client.pid)
            await ending.end(client)
        self._reap()


def _pause(failures: int) -> float:
    """Seconds before another attempt, after so many that failed soon one after the other."""
    return min(2.0**failures / 4, _LONGEST_PAUSE) if failures > 1 else 0.0


def _settings(desired: State) -> Settings | None:
    device = next((item.device for item in desired.of(TunnelSocket)), None)
    return None if device is None else Settings.of(desired, device)


def _besides_peers(settings: Settings) -> tuple[object, ...]:
    return settings.device, settings.mtu, settings.sockets


def _change(before: Settings, after: Settings) -> Change:
    """What has become of the peers."""
    standing = {peer.subnet: peer for peer in before.peers}
    added = tuple(peer for peer in after.peers if standing.get(peer.subnet) != peer)
    return Change(after.device, added, tuple(standing.keys() - {peer.subnet for peer in after.peers}))


def _spawn(socket: Path, log: Path) -> int:
    """Starts the process, in a session of its own, with nothing of ours open but its log. Raises `KernelError`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(nankeen.__file__).resolve().parents[1]),
    }  # the same code as ours
    try:
        is_long = log.exists() and log.stat().st_size > _LONGEST_LOG
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if is_long else os.O_APPEND)
        streams = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        words = [*PROGRAM, "--socket", str(socket)]
        return os.posix_spawn(words[0], words, environment, file_actions=streams, setsid=True)
    except OSError as error:
        raise KernelError(
            f"the data path cannot be started: {error.strerror}", where=PROGRAM[0], errno=error.errno or 0
        ) from error


def _last_words(log: Path) -> str:
    """The last line of the log, to be put behind an error."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return f": {printable(lines[-1], 300)}" if lines else ""
