"""One party's sockets in one family, made inside its network namespace and served by the one event loop outside."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable

from nankeen.inspect import echo, errorqueue
from nankeen.inspect.exchange import Exchange, Exchanges
from nankeen.inspect.inet import INET, PMTUDISC_PROBE
from nankeen.inspect.outcome import Refused, local_refusal
from nankeen.inspect.party import Party
from nankeen.kernel.namespace import Namespace, entered
from nankeen.model.address import Family, IPAddress
from nankeen.model.errors import KernelError

NONCE_LENGTH = 12
"""Bytes that every probe and answer begins with."""

_READ = 128
"""Enough of a packet for its headers and the nonce."""
_BUFFER = 1 << 20
_BACKLOG = 1024
_PENDING_ERRORS = 16
"""How many errors of earlier packets a send can be met by before its own turn comes."""
_TRANSIENT = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EINTR})
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)
"""struct linger: closing leaves no connection in TIME_WAIT behind in the pod."""


class Station:
    """Asks in ICMP, UDP and TCP, and answers in UDP and TCP. To ICMP the kernel answers, and the station takes note."""

    def __init__(self, party: Party, family: Family, namespace: Namespace, exchanges: Exchanges) -> None:
        """Binds to the party's address of that family, which it must have. Raises `KernelError`."""
        self._party = party
        self._inet = INET[family]
        self._namespace = namespace
        self._exchanges = exchanges
        self._sockets: list[socket.socket] = []
        try:
            with entered(namespace):
                self._open(str(party.address(family)))
        except OSError as error:
            self._close_sockets()
            problem = f"cannot open sockets: {error.strerror}"
            raise KernelError(problem, where=party.name, errno=error.errno or 0) from error
        self.udp_port: int = self._server.getsockname()[1]
        self.tcp_port: int = self._listener.getsockname()[1]
        self._serve()

    def send_echo(self, exchange: Exchange, destination: IPAddress, size: int | None) -> None:
        """Sends an echo request in an IP packet of `size` bytes, with DF set."""
        identifier, sequence = _identify(exchange.nonce)
        packet = echo.request(self._inet, identifier, sequence, exchange.nonce, size)
        self._send(self._raw, packet, (str(destination), 0), exchange)

    def send_datagram(self, exchange: Exchange, destination: IPAddress, port: int) -> None:
        """Sends a UDP datagram to another station's `udp_port`."""
        self._send(self._client, exchange.nonce, (str(destination), port), exchange)

    async def connect(self, exchange: Exchange, destination: IPAddress, port: int) -> None:
        """Opens a TCP connection to another station's `tcp_port` and has the nonce sent back."""
        loop = asyncio.get_running_loop()
        with entered(self._namespace):
            sock = socket.socket(self._inet.domain, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with sock:
            sock.setsockopt(self._inet.level, self._inet.recverr, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            try:
                await loop.sock_connect(sock, (str(destination), port))
                await loop.sock_sendall(sock, exchange.nonce)
                if await loop.sock_recv(sock, NONCE_LENGTH) == exchange.nonce:
                    exchange.replied()
                else:
                    exchange.refused(self._party.name, Refused("the connection was closed without an answer"))
            except OSError as error:
                queued = [entry.refused for entry in errorqueue.read(sock, self._inet)]
                exchange.refused(self._party.name, queued[0] if queued else local_refusal(error.errno or 0))

    def close(self) -> None:
        """Closes every socket and the namespace."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
        self._close_sockets()

    def _open(self, address: str) -> None:
        inet = self._inet
        self._raw = self._socket(socket.SOCK_RAW, inet.icmp)
        self._raw.setsockopt(*inet.echo_filter)
        self._raw.setsockopt(inet.level, inet.mtu_discover, PMTUDISC_PROBE)
        self._client = self._socket(socket.SOCK_DGRAM)
        self._server = self._socket(socket.SOCK_DGRAM)
        self._listener = self._socket(socket.SOCK_STREAM)
        for sock in (self._raw, self._client, self._server):
            sock.setsockopt(inet.level, inet.recverr, 1)
        for sock in (self._server, self._listener):
            sock.setsockopt(inet.level, inet.freebind, 1)  # also while an IPv6 address is still tentative
            sock.bind((address, 0))
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        self._listener.listen(_BACKLOG)

    def _socket(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        sock = socket.socket(self._inet.domain, kind | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        return sock

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()

    def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._raw, self._read_all, self._raw, self._on_echo)
        loop.add_reader(self._client, self._read_all, self._client, self._on_answer)
        loop.add_reader(self._server, self._read_all, self._server, self._on_datagram)
        loop.add_reader(self._listener, self._accept_all)

    def _send(self, sock: socket.socket, packet: bytes, address: tuple[str, int], exchange: Exchange) -> None:
        """Sends; where the call reports an error of an earlier packet instead, passes that on and sends again."""
        for _ in range(_PENDING_ERRORS):
            try:
                sock.sendto(packet, address)
            except OSError as error:
                if error.errno is not None and error.errno in _TRANSIENT:
                    exchange.delayed(local_refusal(error.errno))  # the probe will be sent again
                    return
                foreign, own = self._take_errors(sock)
                if own is not None or not foreign:
                    exchange.refused(self._party.name, own.refused if own else local_refusal(error.errno or 0))
                    return
            else:
                return

    def _take_errors(self, sock: socket.socket) -> tuple[int, errorqueue.QueuedError | None]:
        """Passes on the errors about packets sent earlier; returns their number, and the error of this one."""
        foreign, own = 0, None
        for queued in errorqueue.read(sock, self._inet):
            if queued.is_local:
                own = queued
                continue
            foreign += 1
            start = echo.HEADER.size if sock is self._raw else 0
            exchange = self._exchanges.get(queued.payload[start : start + NONCE_LENGTH])
            if exchange is not None:
                exchange.refused(self._party.name, queued.refused)
        return foreign, own

    def _read_all(self, sock: socket.socket, handle: Callable[[bytes, str, int], None]) -> None:
        while True:
            try:
                packet, address = sock.recvfrom(_READ)
            except BlockingIOError:
                return
            except OSError:  # the error of an earlier packet, told in full by the error queue
                self._take_errors(sock)
                continue
            handle(packet, address[0], address[1])

    def _on_echo(self, packet: bytes, source: str, _port: int) -> None:
        found = echo.parse(self._inet, packet)
        exchange = self._exchanges.get(found.data[:NONCE_LENGTH]) if found else None
        if exchange is None or found is None:
            return
        if found.kind == self._inet.echo_request:
            exchange.received(self._party.name, source)
        elif (found.identifier, found.sequence) == _identify(exchange.nonce):
            exchange.replied()

    def _on_answer(self, packet: bytes, _source: str, _port: int) -> None:
        exchange = self._exchanges.get(packet)
        if exchange is not None:
            exchange.replied()

    def _on_datagram(self, packet: bytes, source: str, port: int) -> None:
        exchange = self._exchanges.get(packet)
        if exchange is not None:
            exchange.received(self._party.name, source)
            self._send(self._server, packet, (source, port), exchange)

    def _accept_all(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # the asker has given up meanwhile (accept(2), ECONNABORTED and the network's errors)
                continue
            with connection:
                connection.setblocking(False)
                self._on_connection(connection, address[0])

    def _on_connection(self, connection: socket.socket, source: str) -> None:
        """The nonce is there already: TCP_DEFER_ACCEPT tells of a connection when its first data has come."""
        try:
            nonce = connection.recv(NONCE_LENGTH)
            exchange = self._exchanges.get(nonce)
            if exchange is not None:
                exchange.received(self._party.name, source)
                connection.send(nonce)
        except OSError:
            return  # the asker is gone, or a stranger: nobody waits for this answer


def _identify(nonce: bytes) -> tuple[int, int]:
    """The identifier and sequence number of an echo request: the nonce's first and last two bytes."""
    return int.from_bytes(nonce[:2], "big"), int.from_bytes(nonce[-2:], "big")
