"""What the service manager is told: sd_notify(3), a datagram of lines such as `READY=1`."""

from __future__ import annotations

import logging
import socket

_log = logging.getLogger(__name__)


class ServiceManager:
    """The one that started this process and wants to hear of it: systemd, for a unit of `Type=notify`."""

    def __init__(self, address: str = "") -> None:
        """`address` is $NOTIFY_SOCKET: a path, or, after `@`, a name in the abstract namespace. "": nobody listens."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._started = False
        self._status = ""

    def tell(self, *, ready: bool, status: str) -> None:
        """Says how the agent is, in one line for a person, and that it has started as soon as it is ready once."""
        lines = [f"STATUS={status}"] if status != self._status else []
        if ready and not self._started:
            lines.append("READY=1")
        if lines:
            self._started, self._status = self._started or ready, status
            self._send(lines)

    def stopping(self) -> None:
        self._send(["STOPPING=1"])

    def _send(self, lines: list[str]) -> None:
        """In one datagram. A service manager that does not listen holds up nobody."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.warning("the service manager does not hear %s: %s", " ".join(lines), error.strerror or error)
