"""One party's sockets in one family, made inside its network namespace and served by the one event loop outside."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Sequence

from nankeen.inspect import echo, errorqueue
from nankeen.inspect.exchange import Exchange, Exchanges
from nankeen.inspect.inet import INET, PMTUDISC_PROBE, Inet
from nankeen.inspect.outcome import Refused, local_refusal
from nankeen.inspect.party import Party
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.timestamps import SPACE, arrival, ask_for_times
from nankeen.model.address import Family
from nankeen.model.errors import KernelError

NONCE_LENGTH = 12
"""Bytes that every probe and answer begins with."""

_READ = 128
"""Enough of a packet for its headers and the nonce."""
_BUFFER = 1 << 20
_BACKLOG = 1024
_PENDING_ERRORS = 16
"""How many errors of earlier packets a send can be met by before its own turn comes."""
_AT_ONCE = 16
"""TCP sockets that are made at once."""
_TRANSIENT = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EINTR})
_OUT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What accept(2) says before it looks whether anybody waits."""
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)
"""struct linger: closing leaves no connection in TIME_WAIT behind in the pod."""


class Station:
    """Asks in ICMP, UDP and TCP, and answers in UDP and TCP. To ICMP the kernel answers, and the station takes note."""

    def __init__(self, party: Party, family: Family, exchanges: Exchanges) -> None:
        """Binds to the party's address of that family, which it must have. Raises `KernelError`."""
        self._name = party.name
        self._inet = INET[family]
        self._exchanges = exchanges
        self._sockets: list[socket.socket] = []
        self._unused: list[socket.socket] = []
        self.host = str(party.address(family))
        """Its address."""
        self._namespace = Namespace.open(party.namespace)
        try:
            with entered(self._namespace):
                self._open()
        except OSError as error:
            self._close_sockets()
            problem = f"cannot open sockets: {error.strerror}"
            raise KernelError(problem, where=party.name, errno=error.errno or 0) from error
        self.udp_port: int = self._server.getsockname()[1]
        self.tcp_port: int = self._listener.getsockname()[1]
        self._serve()

    def send_echo(self, exchange: Exchange, other: Station, size: int | None) -> None:
        """Sends an echo request to another station, in an IP packet of `size` bytes, with DF set."""
        identifier, sequence = _identify(exchange.nonce)
        packet = echo.request(self._inet, identifier, sequence, exchange.nonce, size)
        exchange.sending()
        self._send(self._raw, packet, (other.host, 0), exchange)

    def send_datagram(self, exchange: Exchange, other: Station) -> None:
        """Sends a UDP datagram to another station."""
        self._send(self._client, exchange.nonce, (other.host, other.udp_port), exchange)

    def connection(self, exchange: Exchange) -> Connection:
        """A TCP connection that is yet to be opened. Raises `KernelError`."""
        if not self._unused:
            self._make_unused()
        return Connection(self._unused.pop(), self._inet, self._name, exchange)

    def close(self) -> None:
        """Closes every socket and the namespace."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
        self._close_sockets()

    def _open(self) -> None:
        inet = self._inet
        self._raw = self._socket(socket.SOCK_RAW, inet.icmp)
        self._raw.setsockopt(*inet.echo_filter)
        self._raw.setsockopt(inet.level, inet.mtu_discover, PMTUDISC_PROBE)
        ask_for_times(self._raw)
        self._client = self._socket(socket.SOCK_DGRAM)
        self._server = self._socket(socket.SOCK_DGRAM)
        self._listener = self._socket(socket.SOCK_STREAM)
        for sock in (self._raw, self._client, self._server):
            sock.setsockopt(inet.level, inet.recverr, 1)
        for sock in (self._server, self._listener):
            sock.setsockopt(inet.level, inet.freebind, 1)  # also while an IPv6 address is still tentative
            sock.bind((self.host, 0))
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        self._listener.listen(_BACKLOG)

    def _socket(self, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        sock = socket.socket(self._inet.domain, kind | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        return sock

    def _make_unused(self) -> None:
        """Several at once, because entering a namespace costs more than a socket."""
        try:
            with entered(self._namespace):
                for _ in range(_AT_ONCE):
                    self._unused.append(socket.socket(self._inet.domain, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        except OSError as error:
            problem = f"cannot open sockets: {error.strerror}"
            raise KernelError(problem, where=self._name, errno=error.errno or 0) from error

    def _close_sockets(self) -> None:
        for sock in (*self._sockets, *self._unused):
            sock.close()
        self._namespace.close()

    def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._raw, self._read_echoes)
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
                    exchange.refused(self._name, own.refused if own else local_refusal(error.errno or 0))
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
                exchange.refused(self._name, queued.refused)
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

    def _read_echoes(self) -> None:
        while True:
            try:
                packet, control, _, address = self._raw.recvmsg(_READ, SPACE)
            except BlockingIOError:
                return
            except OSError:
                self._take_errors(self._raw)
                continue
            self._on_echo(packet, control, address[0])

    def _on_echo(self, packet: bytes, control: Sequence[tuple[int, int, bytes]], source: str) -> None:
        found = echo.parse(self._inet, packet)
        exchange = self._exchanges.get(found.data[:NONCE_LENGTH]) if found else None
        if exchange is None or found is None:
            return
        if found.kind == self._inet.echo_request:
            exchange.received(self._name, source)
        elif (found.identifier, found.sequence) == _identify(exchange.nonce):
            exchange.replied(arrival(control) or 0)

    def _on_answer(self, packet: bytes, _source: str, _port: int) -> None:
        exchange = self._exchanges.get(packet)
        if exchange is not None:
            exchange.replied()

    def _on_datagram(self, packet: bytes, source: str, port: int) -> None:
        exchange = self._exchanges.get(packet)
        if exchange is not None:
            exchange.received(self._name, source)
            self._send(self._server, packet, (source, port), exchange)

    def _accept_all(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_ROOM:
                    return
                continue  # the asker has given up meanwhile (accept(2), ECONNABORTED and the network's errors)
            with connection:
                self._on_connection(connection, address[0])

    def _on_connection(self, connection: socket.socket, source: str) -> None:
        """The nonce is there already: TCP_DEFER_ACCEPT tells of a connection when its first data has come."""
        try:
            nonce = connection.recv(NONCE_LENGTH, socket.MSG_DONTWAIT)
            exchange = self._exchanges.get(nonce)
            if exchange is not None:
                exchange.received(self._name, source)
                connection.send(nonce, socket.MSG_DONTWAIT | socket.MSG_MORE)  # goes with the end of the connection
        except OSError:
            return  # the asker is gone, or a stranger: nobody waits for this answer


class Connection:
    """One TCP connection, which has a nonce sent back."""

    def __init__(self, sock: socket.socket, inet: Inet, name: str, exchange: Exchange) -> None:
        """Takes over the socket, which is new."""
        self._socket = sock
        self._descriptor = sock.fileno()
        self._inet = inet
        self._name = name
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._reads = self._writes = False

    def open(self, other: Station) -> None:
        """Connects to another station, and tells the exchange what comes of it."""
        self._socket.setsockopt(self._inet.level, self._inet.recverr, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)  # the nonce is the acknowledgement, too
        number = self._socket.connect_ex((other.host, other.tcp_port))
        if number in (0, errno.EINPROGRESS):
            self._write()  # between namespaces of one machine the connection stands already
        else:
            self._fail(number)

    def close(self) -> None:
        """Resets it."""
        if self._reads:
            self._loop.remove_reader(self._descriptor)
        if self._writes:
            self._loop.remove_writer(self._descriptor)
        self._socket.close()

    def _write(self) -> None:
        try:
            self._socket.send(self._exchange.nonce)
        except BlockingIOError:
            self._writes = True
            self._loop.add_writer(self._descriptor, self._write)
        except OSError as error:
            self._fail(error.errno or 0)
        else:
            if self._writes:
                self._loop.remove_writer(self._descriptor)
                self._writes = False
            self._reads = True
            self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            answer = self._socket.recv(NONCE_LENGTH)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.errno or 0)
            return
        self._reads = False
        self._loop.remove_reader(self._descriptor)
        if answer == self._exchange.nonce:
            self._exchange.replied()
        else:
            self._exchange.refused(self._name, Refused("the connection was closed without an answer"))

    def _fail(self, number: int) -> None:
        queued = [entry.refused for entry in errorqueue.read(self._socket, self._inet)]
        self._exchange.refused(self._name, queued[0] if queued else local_refusal(number))


def _identify(nonce: bytes) -> tuple[int, int]:
    """The identifier and sequence number of an echo request: the nonce's first and last two bytes."""
    return int.from_bytes(nonce[:2], "big"), int.from_bytes(nonce[-2:], "big")
