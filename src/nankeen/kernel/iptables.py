"""Living beside iptables: room for pods in a FORWARD chain that drops, and the end of what flannel left in its tables.

iptables stands on two engines, the old one of its own (legacy) and nftables (nft). A host may use either, or both, and
each packet passes the chains of both: a verdict to accept in one, or in a table of ours, does not undo a drop in the
other. So pods are let through in each FORWARD chain that is in use, and no chain is brought into use. Rules of others
are read, and never moved, changed or flushed.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import nftables
from nankeen.kernel.netlink.netfilter import NetfilterSocket
from nankeen.kernel.program import find, run
from nankeen.model.address import Family, IPNetwork, family_of
from nankeen.model.errors import KernelError

CHAIN = "NANKEEN-FWD"
_COMMENT = '-m comment --comment "nankeen forward"'
_JUMP = f"{_COMMENT} -j {CHAIN}"

_FLANNEL_CHAINS = frozenset({"FLANNEL-POSTRTG", "FLANNEL-FWD"})
_FLANNEL_COMMENTS = frozenset({"flanneld masq", "flanneld forward"})
_FORBIDS = frozenset({"DROP", "REJECT"})
_ENTRIES = {"filter": "FORWARD", "nat": "POSTROUTING"}
"""The tables that concern a pod network, and the chain of each by which packets come in."""

_WAIT_SECONDS = 10
"""How long to wait for the lock that the users of the legacy engine share."""
_REMEDY = "install the package iptables: its rules are in use on this host"


class Engine(Enum):
    """What iptables stands on."""

    LEGACY = "legacy"
    NFT = "nft"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as iptables-save prints it."""

    chain: str
    text: str
    """What follows the chain's name, exactly."""
    target: str
    """Where `-j` or `-g` leads, "" for none."""
    comment: str
    conditional: bool
    """Whether only some packets match."""


@dataclass(frozen=True, slots=True)
class Saved:
    """One table of one engine and family."""

    policies: Mapping[str, str]
    """Of each chain; "-" for those that only rules lead to."""
    rules: tuple[Rule, ...] = ()

    def of(self, chain: str) -> tuple[Rule, ...]:
        """A chain's rules, in order."""
        return tuple(rule for rule in self.rules if rule.chain == chain)

    def forbids_all(self, chain: str, above: frozenset[str] = frozenset()) -> int | None:
        """Where in the chain (from 0) the first rule stands that lets nothing pass it, also by way of another chain."""
        for place, rule in enumerate(self.of(chain)):
            if rule.conditional:
                continue
            inner = above | {chain}
            leads_there = rule.target in self.policies and rule.target not in inner
            if rule.target in _FORBIDS or (leads_there and self.forbids_all(rule.target, inner) is not None):
                return place
        return None


def parse(text: str) -> Mapping[str, Saved]:
    """The tables in the output of iptables-save, by name. What is no table, chain or rule is passed over."""
    tables: dict[str, tuple[dict[str, str], list[Rule]]] = {}
    policies: dict[str, str] | None = None
    rules: list[Rule] = []
    for line in text.split("\n"):
        if line.startswith("*"):
            policies, rules = tables.setdefault(line[1:].strip(), ({}, []))
        elif line.startswith("COMMIT"):
            policies = None
        elif policies is not None and line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            policies[name] = rest.partition(" ")[0]
        elif policies is not None and (rule := _parse_rule(line)) is not None:
            rules.append(rule)
    return {name: Saved(chains, tuple(found)) for name, (chains, found) in tables.items()}


def _parse_rule(line: str) -> Rule | None:
    try:
        words = shlex.split(line) if '"' in line else line.split(" ")
    except ValueError:  # quotes that never close
        return None
    if len(words) < 3 or words[0] != "-A" or not line.startswith(f"-A {words[1]} "):
        return None
    chain, conditions, target, comment = words[1], [], "", ""
    rest = iter(words[2:])
    for word in rest:
        if word in ("-j", "-g"):
            target = next(rest, "")
            break  # what follows are the target's own options
        if word == "--comment":
            comment = next(rest, "")
        conditions.append(word)
    text = line.removeprefix(f"-A {chain} ")
    return Rule(chain, text, target, comment, conditional=conditions not in ([], ["-m", "comment", "--comment"]))


def forward_commands(saved: Saved, networks: Sequence[IPNetwork]) -> list[str]:
    """What makes iptables-restore let packets from and to these networks pass FORWARD; none where they do.

    The jump to our chain goes before the first rule that forbids everything, or to the end: what others decide about
    some packets, a NetworkPolicy or the refusal of a service without endpoints, is still theirs to decide. Later it is
    left where it is, unless a rule that forbids everything has come before it.
    """
    wanted = [f"{direction} {network} {_COMMENT} -j ACCEPT" for network in networks for direction in ("-s", "-d")]
    if not wanted:
        return _without(saved, {CHAIN}, frozenset())
    others = [rule for rule in saved.of("FORWARD") if rule.target != CHAIN]
    jumps = [place for place, rule in enumerate(saved.of("FORWARD")) if rule.target == CHAIN]
    wall = saved.forbids_all("FORWARD")
    stands = len(jumps) == 1 and saved.of("FORWARD")[jumps[0]].text == _JUMP and (wall is None or jumps[0] < wall)
    if stands and [rule.text for rule in saved.of(CHAIN)] == wanted:
        return []
    place = Saved(saved.policies, (*others, *(rule for rule in saved.rules if rule.chain != "FORWARD"))).forbids_all(
        "FORWARD"
    )
    commands = [f":{CHAIN} - [0:0]", *(f"-A {CHAIN} {rule}" for rule in wanted)]
    if not stands:
        commands += [f"-D FORWARD {saved.of('FORWARD')[jump].text}" for jump in jumps]
        commands.append(f"-A FORWARD {_JUMP}" if place is None else f"-I FORWARD {place + 1} {_JUMP}")
    return commands


def flannel_commands(saved: Saved) -> list[str]:
    """What makes iptables-restore remove flannel's chains and rules from a table."""
    return _without(saved, _FLANNEL_CHAINS, _FLANNEL_COMMENTS)


def _without(saved: Saved, chains: Collection[str], comments: Collection[str]) -> list[str]:
    """What removes these chains, the rules that lead to them, and the rules that say so in their comment."""
    found = [chain for chain in saved.policies if chain in chains]
    rules = [
        rule for rule in saved.rules if rule.chain not in chains and (rule.target in chains or rule.comment in comments)
    ]
    return [
        *(f"-D {rule.chain} {rule.text}" for rule in rules),
        *(f"-F {chain}" for chain in found),
        *(f"-X {chain}" for chain in found),
    ]


class Iptables:
    """The tables of both engines and both families in one network namespace."""

    def __init__(self, socket: NetfilterSocket, namespace: Namespace | None = None) -> None:
        self._socket = socket
        self._namespace = namespace

    def converge(self, networks: Sequence[IPNetwork]) -> list[str]:
        """Lets packets of these networks pass each FORWARD chain in use, and says where something was changed.

        Raises `KernelError`, also where somebody holds the legacy engine's lock for long.
        """
        changed = []
        for family in Family:
            ours = [network for network in networks if family_of(network) is family]
            for engine in self._in_use(family, "filter"):
                commands = forward_commands(self._saved(engine, family, "filter"), ours)
                changed += self._change(engine, family, "filter", commands, f"chain {CHAIN}")
        return changed

    def remove(self) -> list[str]:
        """Takes our chain away, and says where."""
        return self.converge([])

    def remove_flannel(self) -> list[str]:
        """Takes flannel's chains and rules away, each table's in one transaction, and says where."""
        changed = []
        for family in Family:
            for table in _ENTRIES:
                for engine in self._in_use(family, table):
                    commands = flannel_commands(self._saved(engine, family, table))
                    changed += self._change(engine, family, table, commands, "flannel's rules")
        return changed

    def _in_use(self, family: Family, table: str) -> Iterator[Engine]:
        """The engines that hold the table. To ask iptables itself would bring the table into use."""
        if table in self._legacy_tables(family):
            yield Engine.LEGACY
        protocol = nftables.IPV4 if family is Family.IPV4 else nftables.IPV6
        if self._socket.get(nftables.get_chain(protocol, table, _ENTRIES[table])) is not None:
            yield Engine.NFT

    def _legacy_tables(self, family: Family) -> list[str]:
        name = "ip_tables_names" if family is Family.IPV4 else "ip6_tables_names"
        try:
            with entered(self._namespace), open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
                return file.read().split()
        except FileNotFoundError:  # the kernel was built without, or the module was never loaded
            return []
        except OSError as error:
            raise KernelError(
                f"cannot read which tables are in use: {error.strerror}", where=f"/proc/net/{name}",
                errno=error.errno or 0,
            ) from error  # fmt: skip

    def _saved(self, engine: Engine, family: Family, table: str) -> Saved:
        saved = parse(self._run(engine, family, "save", ["-t", table])).get(table)
        if saved is None:
            raise KernelError(
                f"table {table} of {family} cannot be read by iptables",
                remedy="let pods' packets through in that table by hand, or leave it to iptables",
            )
        return saved

    def _change(self, engine: Engine, family: Family, table: str, commands: Sequence[str], what: str) -> list[str]:
        if not commands:
            return []
        text = "\n".join([f"*{table}", *commands, "COMMIT"]) + "\n"
        self._run(engine, family, "restore", ["--noflush", "--wait", str(_WAIT_SECONDS)], text)
        verb = "-" if commands[0].startswith(("-D", "-F")) else "+"
        return [f"{verb} {what} in table {table} of {_program(engine, family)}"]

    def _run(self, engine: Engine, family: Family, verb: str, arguments: Sequence[str], text: str = "") -> str:
        program = f"{_program(engine, family)}-{verb}"
        if find(program) is None:  # a host with one engine only may leave its name out
            program = self._unnamed(engine, family, verb)
        return run([program, *arguments], text, remedy=_REMEDY, namespace=self._namespace)

    def _unnamed(self, engine: Engine, family: Family, verb: str) -> str:
        program = f"{_base(family)}-{verb}"
        told = run([program, "--version"], remedy=_REMEDY) if find(program) else ""
        if ("nf_tables" in told) is not (engine is Engine.NFT) or not told:
            raise KernelError(
                f"the program {_program(engine, family)}-{verb} is not installed", remedy=_REMEDY, errno=errno.ENOENT
            )
        return program


def _base(family: Family) -> str:
    return "iptables" if family is Family.IPV4 else "ip6tables"


def _program(engine: Engine, family: Family) -> str:
    return f"{_base(family)}-{engine.value}"
