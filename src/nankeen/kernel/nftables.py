"""The nftables table made equal to a wish: replaced whole in one transaction, its sets changed by what differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import INET
from nankeen.kernel.written import WrittenTable
from nankeen.model.address import IPAddress, family_of
from nankeen.model.firewall import TABLE, AddressSet, Firewall

_NAME = f"table inet {TABLE}"
_SHOWN = 5
"""Addresses that a change is told with, one by one; of more than these, only their number."""


class Nftables:
    """Our table in one network namespace."""

    def __init__(self, socket: NetfilterSocket, namespace: Namespace | None = None) -> None:
        self._socket = socket
        self._written = WrittenTable(TABLE, namespace)

    def converge(self, firewall: Firewall) -> list[str]:
        """Makes the table equal to the desired one, and says what was changed. Raises `KernelError`."""
        if firewall.table is None:
            return self.remove()
        stands = self._written.stands(self._socket, str(firewall.table))
        if not stands:
            self._written.write(self._socket, str(firewall.table), fillings(firewall))
            return [f"{'+' if stands is None else '~'} {_NAME}"]
        return [line for found in firewall.table.sets for line in self._fill(found, firewall.elements(found))]

    def step(self, before: Firewall, after: Firewall) -> list[str]:
        """Takes the sets from one desired state to the next of the same table, without looking at what stands."""
        changed = []
        for found in after.table.sets if after.table else ():
            come = {address.packed for address in after.peers - before.peers if family_of(address) is found.family}
            gone = {address.packed for address in before.peers - after.peers if family_of(address) is found.family}
            changed += self._change(found, come, gone)
        return changed

    def remove(self) -> list[str]:
        """Takes the table away, where it stands."""
        self._written.forget()
        return remove_table(self._socket, INET, TABLE)

    def _fill(self, found: AddressSet, addresses: frozenset[IPAddress]) -> list[str]:
        answers = self._socket.dump(nftables.dump_elements(INET, TABLE, found.name))
        standing = {key for _, body in answers for key in nftables.element_keys(body)}
        wanted = {address.packed for address in addresses}
        return self._change(found, wanted - standing, standing - wanted)

    def _change(self, found: AddressSet, come: AbstractSet[bytes], gone: AbstractSet[bytes]) -> list[str]:
        messages = [
            *nftables.add_elements(INET, TABLE, found.name, come),
            *nftables.delete_elements(INET, TABLE, found.name, gone),
        ]
        self._socket.transact_in_parts(messages, f"set {found.name} of {_NAME}")
        return [*_told("+", found, sorted(come)), *_told("-", found, sorted(gone))]


def remove_table(socket: NetfilterSocket, family: int, name: str) -> list[str]:
    """Takes a table away, where it stands, and says so. Raises `KernelError`."""
    if socket.get(nftables.get_table(family, name)) is None:
        return []
    label = f"table {nftables.FAMILIES[family]} {name}"
    socket.transact([nftables.delete_table(family, name)], label)
    return [f"- {label}"]


def fillings(firewall: Firewall) -> list[str]:
    """The commands of nft that fill the table's sets."""
    sets = firewall.table.sets if firewall.table else ()
    return [
        f"add element inet {TABLE} {found.name} {{ {_listed(elements)} }}"
        for found in sets
        if (elements := firewall.elements(found))
    ]


def _listed(addresses: Iterable[IPAddress]) -> str:
    return ", ".join(map(str, sorted(addresses, key=int)))


def _told(verb: str, found: AddressSet, keys: Sequence[bytes]) -> list[str]:
    if len(keys) > _SHOWN:
        return [f"{verb} {len(keys)} elements of set {found.name}"]
    return [f"{verb} element {ip_address(key)} of set {found.name}" for key in keys]
