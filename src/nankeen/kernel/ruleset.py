"""The packet filter as it stands, for who asks what others have left in it: nftables' tables by name, and those of
iptables' two engines as iptables-save prints them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from nankeen.kernel.iptables import Engine, Iptables, Saved
from nankeen.kernel.namespace import Namespace
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.netlink.nftables import FoundChain, FoundTable
from nankeen.kernel.nftables import remove_table
from nankeen.model.address import Family

_FAMILIES = {name: number for number, name in nftables.FAMILIES.items()}
_IPTABLES = ("filter", "nat")


@dataclass(frozen=True, slots=True)
class NftTable:
    """A table of nftables, by its family (`ip`, `ip6`, `inet` or `bridge`) and name."""

    family: str
    name: str

    def __str__(self) -> str:
        return f"table {self.family} {self.name}"


@dataclass(frozen=True, slots=True)
class IptablesTable:
    """A table of one of iptables' engines."""

    engine: Engine
    family: Family
    name: str

    def __str__(self) -> str:
        """The command that shows it, and the first words of every command that changes it."""
        base = "iptables" if self.family is Family.IPV4 else "ip6tables"
        return f"{base}-{self.engine.value} -t {self.name}"


class Ruleset(Iptables):
    """Of one network namespace: that of the caller, or the one given. Every method raises `KernelError`."""

    def __init__(self, namespace: Namespace | None = None) -> None:
        super().__init__(NetfilterSocket(namespace), namespace)

    def tables(self) -> tuple[NftTable, ...]:
        """The tables of nftables for IP and bridges, those included that its engine of iptables keeps."""
        found = nftables.of_type(FoundTable, self._socket.dump(nftables.dump_tables()))
        return tuple(
            NftTable(nftables.FAMILIES[table.family], table.name)
            for table in found
            if table.family in nftables.FAMILIES
        )

    def iptables(self) -> Iterator[IptablesTable]:
        """The tables of iptables that are in use and concern a pod network. Asking brings none into use."""
        for family in Family:
            for name in _IPTABLES:
                for engine in self._in_use(family, name):
                    yield IptablesTable(engine, family, name)

    def read(self, table: IptablesTable) -> Saved:
        """Its chains and rules."""
        return self._saved(table.engine, table.family, table.name)

    def chains(self, table: IptablesTable) -> frozenset[str]:
        """The names of its chains, also where its rules are none that iptables can read: those of the nft engine."""
        family = _FAMILIES["ip" if table.family is Family.IPV4 else "ip6"]
        found = nftables.of_type(FoundChain, self._socket.dump(nftables.dump_chains(family)))
        return frozenset(chain.name for chain in found if chain.table == table.name)

    def delete(self, table: NftTable) -> None:
        """Takes the table away, with all that is in it; one that has gone is no error."""
        remove_table(self._socket, _FAMILIES[table.family], table.name)

    def change(self, table: IptablesTable, commands: Sequence[str]) -> None:
        """Gives iptables-restore these commands for the table: one transaction."""
        self._change(table.engine, table.family, table.name, commands, "")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
