"""The node's packet filter kept equal to a wish, and told of by the kernel when somebody else changes it."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator
from typing import Self

from nankeen.kernel.iptables import CHAIN, Iptables
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import INET, IPV4, IPV6, FoundChain, FoundTable
from nankeen.kernel.netlink.socket import split
from nankeen.kernel.nftables import Nftables, remove_table
from nankeen.model.errors import KernelError
from nankeen.model.firewall import TABLE, Firewall
from nankeen.model.hostport import TABLE as PORTS

_FLANNEL_TABLES = ((IPV4, "flannel-ipv4"), (IPV6, "flannel-ipv6"))
_IPTABLES_FORWARD = {(family, "filter", "FORWARD") for family in (IPV4, IPV6)}


class PacketFilter:
    """In one network namespace: that of the caller, or the one given.

    Methods return what they changed, a line each, and raise `KernelError`. A change may take tens of milliseconds, and
    seconds where somebody holds the lock of iptables.
    """

    def __init__(self, namespace: Namespace | None = None) -> None:
        self._socket = NetfilterSocket(namespace)
        self._nftables = Nftables(self._socket, namespace)
        self._iptables = Iptables(self._socket, namespace)

    def converge(self, firewall: Firewall) -> list[str]:
        """Makes the packet filter equal to the desired one, in one transaction for each table."""
        return [*self._nftables.converge(firewall), *self._iptables.converge(firewall.forwarded)]

    def step(self, before: Firewall, after: Firewall) -> list[str]:
        """Takes the packet filter from one desired state to the next: for few changed peers of many, without looking at
        what stands. Where more than peers has changed, or what stands turns out to be something else, as `converge`.
        """
        if (before.table, before.forwarded) != (after.table, after.forwarded):
            return self.converge(after)
        try:
            return self._nftables.step(before, after)
        except KernelError:  # somebody was there before us
            return self.converge(after)

    def remove(self) -> list[str]:
        """Takes away everything of ours."""
        return [*self._nftables.remove(), *self._iptables.remove()]

    def remove_flannel(self) -> list[str]:
        """Takes away flannel's tables and chains, for good: its daemon must have ended.

        Called after `converge`, there is no moment in which neither's rules are in force.
        """
        removed = [line for family, name in _FLANNEL_TABLES for line in remove_table(self._socket, family, name)]
        return removed + self._iptables.remove_flannel()

    def obstacles(self, firewall: Firewall) -> list[str]:
        """Other firewalls that may keep pods' packets from being forwarded, which no rule of ours can undo, and what to
        do about each.
        """
        if not firewall.forwarded:
            return []
        return [
            *self._firewalld(firewall),
            *(
                f"chain {chain.name} of table {nftables.FAMILIES[chain.family]} {chain.table} drops what it does "
                f"not accept: let {' and '.join(map(str, firewall.forwarded))} pass there"
                for chain in nftables.of_type(FoundChain, self._socket.dump(nftables.dump_chains()))
                if _drops(chain)
            ),
        ]

    def _firewalld(self, firewall: Firewall) -> Iterator[str]:
        tables = nftables.of_type(FoundTable, self._socket.dump(nftables.dump_tables()))
        if any((table.family, table.name) == (INET, "firewalld") for table in tables):
            sources = " ".join(f"--add-source={network}" for network in firewall.forwarded)
            yield (
                "firewalld rejects what its zones do not allow: run "
                f"firewall-cmd --permanent --zone=trusted {sources} and firewall-cmd --reload"
            )

    @property
    def port(self) -> int:
        """The netlink port of all that is not done by programs."""
        return self._socket.port

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PacketFilterMonitor:
    """Tells whenever somebody changes what `PacketFilter` keeps, or the table of host ports, if the kernel tells it.

    What is done through a socket whose port is in `own_ports` is passed over; not so what programs do for us. Of the
    legacy engine of iptables it tells nothing: that is for an audit to find.
    """

    def __init__(self, namespace: Namespace | None = None, own_ports: frozenset[int] = frozenset()) -> None:
        """Listens from now on. Raises `KernelError`."""
        self._own_ports = own_ports
        self._socket = NetfilterSocket(namespace, nftables.GROUP)

    async def changes(self) -> AsyncIterator[frozenset[str]]:
        """Of each group of changes, which tables of ours they are about: `nankeen` stands for all that `PacketFilter`
        keeps. All of them when news were lost, for then anything may have changed.
        """
        while True:
            try:
                data = await self._socket.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"netfilter monitor: {error.strerror}", errno=error.errno or 0) from error
                yield frozenset({TABLE, PORTS})
                continue
            touched = {
                _ours(nftables.touched(kind, body))
                for kind, _, _, port, body in split(data)
                if port not in self._own_ports
            }
            if tables := frozenset(table for table in touched if table):
                yield tables

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ours(what: tuple[int, str, str] | None) -> str:
    """Which table of ours a change is about; "" for none."""
    if what is None:
        return ""
    family, table, chain = what
    if family == INET and table in (TABLE, PORTS):
        return table
    return TABLE if family in (IPV4, IPV6) and table == "filter" and chain in ("FORWARD", CHAIN) else ""


def _drops(chain: FoundChain) -> bool:
    """Whether nothing passes the chain that is not accepted there, and it is none that iptables lets pods through."""
    forwards = chain.hook == nftables.HOOK_FORWARD and chain.family in nftables.FAMILIES
    handled = (chain.family, chain.table, chain.name) in _IPTABLES_FORWARD
    return forwards and chain.policy == nftables.DROP and not handled
