"""The table of host ports in the kernel: kept equal to a wish, a port added or taken by one message.

One socket is kept for all: when one is closed, the kernel waits for every transaction to be over for good, and that
takes 20 milliseconds where the message takes a tenth of one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import conntrack, nftables
from nankeen.kernel.netlink.conntrack import Flow
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import INET
from nankeen.kernel.written import WrittenTable
from nankeen.model.address import Family
from nankeen.model.errors import KernelError
from nankeen.model.hostport import MAPS, TABLE, HostPort, PortTable

_STALE = frozenset({errno.ENOENT, errno.EEXIST, errno.EBUSY})
"""What the kernel says where something else stands than we thought."""

Elements = Mapping[str, Mapping[bytes, bytes]]
"""What the maps hold, by map and key."""


class HostPortTable:
    """In one network namespace: that of the caller at the first use, or the one given. Methods raise `KernelError`."""

    def __init__(self, namespace: Namespace | None = None) -> None:
        self._namespace = namespace
        self._written = WrittenTable(TABLE, namespace)
        self._opened: NetfilterSocket | None = None

    def converge(self, wanted: PortTable) -> list[str]:
        """Makes the table equal to the desired one, and says what was changed. Ports that stand are never out of it."""
        stands = self._written.stands(self._socket, str(wanted))
        if not stands:
            self._written.write(self._socket, str(wanted), map(_filling, sorted(wanted.ports, key=str)))
            return [f"{'+' if stands is None else '~'} {self._written.name}"]
        return _fill(self._socket, wanted)

    def step(self, wanted: PortTable, come: Collection[HostPort], gone: Collection[HostPort]) -> None:
        """Takes the table to the desired one, where all that changes is these ports, without looking at what stands.
        Where something else stands, as `converge`.
        """
        try:
            self._socket.transact_in_parts(chain(_taking(gone), _adding(come)), self._written.name)
        except KernelError as error:
            if error.errno not in _STALE:
                raise
            self.converge(wanted)

    @property
    def port(self) -> int:
        """The netlink port of all that is not done by `nft`."""
        return self._socket.port

    def is_there(self) -> bool:
        """Whether the table stands, whatever is in it."""
        return self._socket.get(nftables.get_table(INET, TABLE)) is not None

    def faults(self, wanted: PortTable, ports: Collection[HostPort]) -> Iterator[str]:
        """All that keeps these ports of the table from working, in words."""
        if not self._written.stands(self._socket, str(wanted)):
            yield f"{self._written.name} is not as it should be"
        standing = _standing(self._socket)
        for port in ports:
            if standing[port.map].get(port.key) != port.data:
                yield f"the host port {port} is not mapped"

    def forget_flows(self, family: Family, protocol: int, port: int, is_stale: Callable[[Flow], bool]) -> int:
        """Ends flows to a port that are stale, and says how many.

        NAT decides on a flow's first packet. UDP has no other beginning than that, so a client that goes on sending
        from its port would reach the old place for as long as it sends, or nobody.
        """
        answers = self._socket.dump(conntrack.dump_to_port(family, protocol, port))
        flows = [flow for answer in answers if (flow := conntrack.parse(*answer)) is not None]
        stale = [flow for flow in flows if (flow.protocol, flow.port) == (protocol, port) and is_stale(flow)]
        return sum(self._socket.request(conntrack.delete(family, flow), "a flow") for flow in stale)

    @property
    def _socket(self) -> NetfilterSocket:
        if self._opened is None:
            self._opened = NetfilterSocket(self._namespace)
        return self._opened

    def close(self) -> None:
        """Leaves the table as it is."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _fill(socket: NetfilterSocket, wanted: PortTable) -> list[str]:
    """Changes the elements that differ: those that lead elsewhere are taken and added at once, if they are not many."""
    standing, told, messages = _standing(socket), [], []
    for name in MAPS:
        before, after = standing[name].items(), wanted.elements(name).items()
        gone, come = dict(before - after), dict(after - before)
        messages += nftables.delete_elements(INET, TABLE, name, gone)
        messages += nftables.add_mappings(INET, TABLE, name, come)
        told += [f"- {len(gone)} elements of map {name}"] if gone else []
        told += [f"+ {port}" for port in wanted.ports if port.map == name and port.key in come]
    socket.transact_in_parts(messages, f"table inet {TABLE}")
    return told


def _standing(socket: NetfilterSocket) -> Elements:
    return {
        name: dict(
            pair
            for _, body in socket.dump(nftables.dump_elements(INET, TABLE, name))
            for pair in nftables.element_pairs(body)
        )
        for name in MAPS
    }


def _taking(ports: Collection[HostPort]) -> Iterator[bytes]:
    for name in MAPS:
        yield from nftables.delete_elements(INET, TABLE, name, [port.key for port in ports if port.map == name])


def _adding(ports: Collection[HostPort]) -> Iterator[bytes]:
    for name in MAPS:
        found = {port.key: port.data for port in ports if port.map == name}
        yield from nftables.add_mappings(INET, TABLE, name, found)


def _filling(port: HostPort) -> str:
    return f"add element inet {TABLE} {port.map} {{ {port} }}"
