"""A table of ours as it was written: whether it still stands so, and writing it anew.

A table that somebody changed is noticed without reading its rules: no handle of the kernel's is ever used twice, so the
handles of what stands tell one rule set from every other, whoever else fills tables of his own meanwhile. Rules are
read back as text only where the handles are new: at the first look, and after foreign hands.
"""

from __future__ import annotations

from collections.abc import Iterable

from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import INET, Found, FoundChain, FoundRule, FoundSet
from nankeen.kernel.program import run

_REMEDY = "install the package nftables"

Fingerprint = tuple[Found, ...]


class WrittenTable:
    """One table of family `inet` in one network namespace, without the elements of its sets and maps."""

    def __init__(self, name: str, namespace: Namespace | None = None) -> None:
        self.name = f"table inet {name}"
        """In words."""
        self._table = name
        self._namespace = namespace
        self._known: tuple[str, Fingerprint] | None = None

    def stands(self, socket: NetfilterSocket, text: str) -> bool | None:
        """Whether the table says what `nft --stateless --terse list table` would print; None where there is none.

        Raises `KernelError`.
        """
        standing = self._fingerprint(socket)
        if not standing:
            return None
        if self._known != (text, standing):
            if self._listing() != text:
                return False
            self._known = text, standing
        return True

    def write(self, socket: NetfilterSocket, text: str, fillings: Iterable[str]) -> None:
        """Puts this table in the place of whatever stands there, in one transaction: packets meet the old rules or the
        new ones, and never none. `fillings` are commands of nft that fill its sets. Raises `KernelError`.
        """
        script = "\n".join([f"add {self.name}", f"delete {self.name}", text, *fillings]) + "\n"
        before = _generation(socket)
        run(["nft", "-f", "-"], script, remedy=_REMEDY, namespace=self._namespace)
        standing = self._fingerprint(socket)
        # Where ours was the only transaction, what stands is what was written; else it is read at the next look.
        self._known = (text, standing) if _generation(socket) == before + 1 else None

    def forget(self) -> None:
        """What was written does not stand any more."""
        self._known = None

    def _listing(self) -> str:
        command = ["nft", "--stateless", "--terse", "list", "table", "inet", self._table]
        return run(command, remedy=_REMEDY, namespace=self._namespace).strip("\n")

    def _fingerprint(self, socket: NetfilterSocket) -> Fingerprint:
        """The handles of the table and all that is in it but sets' elements; empty where there is no table."""
        answer = socket.get(nftables.get_table(INET, self._table))
        table = nftables.found(*answer) if answer else None
        if table is None:
            return ()
        members: list[FoundChain | FoundRule | FoundSet] = [
            *nftables.of_type(FoundChain, socket.dump(nftables.dump_chains(INET))),
            *nftables.of_type(FoundRule, socket.dump(nftables.dump_rules(INET, self._table))),
            *nftables.of_type(FoundSet, socket.dump(nftables.dump_sets(INET, self._table))),
        ]
        return (table, *(item for item in members if item.table == self._table))


def _generation(socket: NetfilterSocket) -> int:
    """The number of transactions that the packet filter has seen."""
    answer = socket.get(nftables.get_generation())
    return nftables.generation(answer[1]) if answer else -1
