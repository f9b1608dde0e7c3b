"""The nftables table made equal to a wish: replaced whole in one transaction, its sets changed by what differs.

A table that somebody changed is noticed without reading its rules: no handle of the kernel's is ever used twice, so the
handles of what stands tell one rule set from every other, whoever else fills tables of his own meanwhile. Rules are
read back as text only where the handles are new: at the first look, and after foreign hands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import INET, Found, FoundChain, FoundRule, FoundSet
from nankeen.kernel.program import run
from nankeen.model.address import IPAddress, family_of
from nankeen.model.firewall import TABLE, AddressSet, Firewall, Table

_NAME = f"table inet {TABLE}"
_REMEDY = "install the package nftables"
_SHOWN = 5
"""Addresses that a change is told with, one by one; of more than these, only their number."""
_MESSAGES = 4
"""Of a thousand elements each, in one transaction: what a socket sends at once."""

Fingerprint = tuple[Found, ...]


class Nftables:
    """Our table in one network namespace."""

    def __init__(self, socket: NetfilterSocket, namespace: Namespace | None = None) -> None:
        self._socket = socket
        self._namespace = namespace
        self._known: tuple[Table, Fingerprint] | None = None

    def converge(self, firewall: Firewall) -> list[str]:
        """Makes the table equal to the desired one, and says what was changed. Raises `KernelError`."""
        if firewall.table is None:
            return self.remove()
        standing = self._fingerprint()
        if not standing:
            return self._replace(firewall, firewall.table, "+")
        if self._known != (firewall.table, standing):
            if self._listing() != str(firewall.table):
                return self._replace(firewall, firewall.table, "~")
            self._known = firewall.table, standing
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
        self._known = None
        return remove_table(self._socket, INET, TABLE)

    def _replace(self, firewall: Firewall, table: Table, verb: str) -> list[str]:
        """One transaction: packets meet the old rules or the new ones, and never none."""
        before = self._generation()
        run(["nft", "-f", "-"], script(firewall), remedy=_REMEDY, namespace=self._namespace)
        standing = self._fingerprint()
        # Where ours was the only transaction, what stands is what was written; else it is read at the next look.
        self._known = (table, standing) if self._generation() == before + 1 else None
        return [f"{verb} {_NAME}"]

    def _generation(self) -> int:
        answer = self._socket.get(nftables.get_generation())
        return nftables.generation(answer[1]) if answer else -1

    def _listing(self) -> str:
        command = ["nft", "--stateless", "--terse", "list", "table", "inet", TABLE]
        return run(command, remedy=_REMEDY, namespace=self._namespace).strip("\n")

    def _fingerprint(self) -> Fingerprint:
        """The handles of the table and all that is in it but sets' elements; empty where there is no table."""
        answer = self._socket.get(nftables.get_table(INET, TABLE))
        table = nftables.found(*answer) if answer else None
        if table is None:
            return ()
        members: list[FoundChain | FoundRule | FoundSet] = [
            *nftables.of_type(FoundChain, self._socket.dump(nftables.dump_chains(INET))),
            *nftables.of_type(FoundRule, self._socket.dump(nftables.dump_rules(INET, TABLE))),
            *nftables.of_type(FoundSet, self._socket.dump(nftables.dump_sets(INET, TABLE))),
        ]
        return (table, *(item for item in members if item.table == TABLE))

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
        for start in range(0, len(messages), _MESSAGES):
            self._socket.transact(messages[start : start + _MESSAGES], f"set {found.name} of {_NAME}")
        return [*_told("+", found, sorted(come)), *_told("-", found, sorted(gone))]


def remove_table(socket: NetfilterSocket, family: int, name: str) -> list[str]:
    """Takes a table away, where it stands, and says so. Raises `KernelError`."""
    if socket.get(nftables.get_table(family, name)) is None:
        return []
    label = f"table {_FAMILIES[family]} {name}"
    socket.transact([nftables.delete_table(family, name)], label)
    return [f"- {label}"]


def script(firewall: Firewall) -> str:
    """What makes `nft -f` put this table in the place of whatever stands there."""
    sets = firewall.table.sets if firewall.table else ()
    fillings = [
        f"add element inet {TABLE} {found.name} {{ {_listed(elements)} }}"
        for found in sets
        if (elements := firewall.elements(found))
    ]
    return "\n".join([f"add {_NAME}", f"delete {_NAME}", str(firewall.table), *fillings]) + "\n"


_FAMILIES = {nftables.IPV4: "ip", nftables.INET: "inet", nftables.IPV6: "ip6", nftables.BRIDGE: "bridge"}


def _listed(addresses: Iterable[IPAddress]) -> str:
    return ", ".join(map(str, sorted(addresses, key=int)))


def _told(verb: str, found: AddressSet, keys: Sequence[bytes]) -> list[str]:
    if len(keys) > _SHOWN:
        return [f"{verb} {len(keys)} elements of set {found.name}"]
    return [f"{verb} element {ip_address(key)} of set {found.name}" for key in keys]
