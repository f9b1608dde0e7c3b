"""The files that nankeen, flannel and the CNI plugins under them leave on a node: where they lie, and whose they are.

A file that others may have, too, is known by its content: flannel's plugin by the module that it was built from, a
network configuration list by the plugins that it names, a cached result (libcni's) by its network. Nothing is changed.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nankeen.agent import lastknown, settings
from nankeen.cni import install
from nankeen.cni.server import SOCKET
from nankeen.model import subnetenv
from nankeen.model.address import IPNetwork
from nankeen.model.errors import InputError
from nankeen.pods.bandwidth import ifb_name
from nankeen.tunnel import control

_CONFLISTS = ("10-flannel.conflist", install.CONFLIST)
_PLUGINS = {"flannel", install.EXECUTABLE}
_OURS = b"the nankeen agent"
_MARKS = {
    "flannel": (
        b"github.com/flannel-io/cni-plugin",
        b"github.com/containernetworking/plugins/plugins/meta/flannel",
        _OURS,  # in flannel's place
    ),
    install.EXECUTABLE: (_OURS,),
}
"""What an executable of that name has in it: of flannel's plugin, the Go module, before and since it has its own."""
_NETWORK_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""What a network may be called (CNI specification 1.1.0, section 1)."""
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Places:
    """The directories that a container runtime, flannel and nankeen use on one node. Raises `InputError` where one that
    is removed whole is not called as flannel's and ours are: it would be somebody else's.
    """

    cni_bin: Path = settings.CNI_BIN_DIR
    cni_conf: Path = settings.CNI_CONF_DIR
    cni_data: Path = settings.CNI_DATA_DIR
    flannel: Path = settings.SUBNET_FILE.parent
    run: Path = settings.STATUS_FILE.parent
    state: Path = settings.LEASE_FILE.parent

    def __post_init__(self) -> None:
        for path, usual in (
            (self.flannel, settings.SUBNET_FILE),
            (self.run, settings.STATUS_FILE),
            (self.state, settings.LEASE_FILE),
        ):
            if path.name != usual.parent.name:
                remedy = f"name one that is called {usual.parent.name}"
                raise InputError(
                    "this directory would be removed with all that is in it", where=str(path), remedy=remedy
                )

    @property
    def status(self) -> Path:
        return self.run / settings.STATUS_FILE.name

    @property
    def socket(self) -> Path:
        return self.run / SOCKET.name

    @property
    def data_path(self) -> Path:
        return self.run / control.SOCKET.name

    @property
    def subnet_env(self) -> Path:
        return self.flannel / settings.SUBNET_FILE.name

    @property
    def leases(self) -> Path:
        return self.state / settings.LEASE_FILE.name


class Note(NamedTuple):
    """Something that an administrator should know of: what stays and has a name as if it were ours, and the like."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Traces:
    """What was found."""

    invitations: tuple[Path, ...] = ()
    """What makes a runtime start pods on the pod network: to be removed before anything else."""
    files: tuple[Path, ...] = ()
    """All others; a directory goes with what is in it."""
    notes: tuple[Note, ...] = ()
    names: frozenset[str] = frozenset({install.NETWORK})
    """What CNI calls the pod network."""
    networks: tuple[IPNetwork, ...] = ()
    """The pod networks; none where no file tells any more."""
    foreign_ifbs: frozenset[str] = frozenset()
    """The IFB devices that the bandwidth plugin has for pods of other networks."""


def find(places: Places) -> Traces:
    """Looks for them all."""
    search = _Search(places)
    search.find_invitations()
    search.find_networks()
    results = _results(places.cni_data / "results")
    search.find_files(results)
    return Traces(
        invitations=tuple(search.invitations),
        files=tuple(search.files),
        notes=tuple(search.notes),
        names=frozenset(search.names),
        networks=tuple(sorted(search.networks, key=lambda network: (network.version, network))),
        foreign_ifbs=frozenset(
            name
            for _, network, container, interface in results
            if network not in search.names
            for name in (ifb_name(network, container), ifb_name(network, container, interface))
        ),
    )


def network_of(text: str) -> str | None:
    """The network of a configuration list in which is a plugin of ours or flannel's; else None. Raises `ValueError`."""
    match json.loads(text):
        case {"name": str(name), "plugins": [*plugins]}:
            ours = any(isinstance(plugin, dict) and plugin.get("type") in _PLUGINS for plugin in plugins)
            return name if ours else None
    raise ValueError("it has no name or no plugins")


@dataclass(slots=True)
class _Search:
    """Traces as they are gathered. What cannot be read is noted."""

    places: Places
    invitations: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    names: set[str] = field(default_factory=lambda: {install.NETWORK})
    networks: set[IPNetwork] = field(default_factory=set)

    def find_invitations(self) -> None:
        for name in _CONFLISTS:
            self._attempt(self.places.cni_conf / name, self._find_conflist)
        for name in _MARKS:
            self._attempt(self.places.cni_bin / name, self._find_executable)
        for name in sorted(set(install.STAND_INS) - _MARKS.keys()):
            self._attempt(self.places.cni_bin / name, self._find_stand_in)

    def find_networks(self) -> None:
        self._attempt(self.places.leases, self._recall)
        self._attempt(self.places.subnet_env, self._read_subnet_env)

    def find_files(self, results: Iterable[_Result]) -> None:
        data, networks = self.places.cni_data, sorted(self.names)
        self.files += [path for path, network, _, _ in results if network in self.names]
        self._attempt(self.places.state, self._find_state)
        for directory in (data / "flannel", *(data / "networks" / name for name in networks)):
            self._attempt(directory, self._find_directory)
        for directory in (self.places.run, self.places.flannel):
            self._attempt(directory, self._find_directory)

    def _attempt(self, path: Path, look: Callable[[Path], None]) -> None:
        try:
            look(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._note(path, f"cannot be read: {error.strerror}")

    def _note(self, path: Path, why: str) -> None:
        self.notes.append(Note(str(path), why))

    def _find_conflist(self, path: Path) -> None:
        try:
            network = network_of(path.read_text(encoding="utf-8"))
        except ValueError as error:
            self._note(path, f"stays: it is no network configuration list ({error})")
            return
        if network is None:
            self._note(path, "stays: none of its plugins is flannel's or ours")
            return
        self.names.update({network} if _NETWORK_NAME.fullmatch(network) else ())
        self.invitations.append(path)

    def _find_executable(self, path: Path) -> None:
        if _contains(path, _MARKS[path.name]):
            self.invitations.append(path)
        else:
            self._note(path, f"stays: it does not look like the plugin {path.name}")

    def _find_stand_in(self, path: Path) -> None:
        """The client in the place of a plugin that others use, too: theirs is none of ours."""
        if _contains(path, (_OURS,)):
            self.invitations.append(path)

    def _recall(self, path: Path) -> None:
        try:
            remembered = lastknown.load(path)
        except InputError as error:
            self._note(path, f"does not tell the pod network: {error.problem}")
        else:
            self.networks.update(remembered.snapshot.config.networks if remembered else ())

    def _read_subnet_env(self, path: Path) -> None:
        self.networks.update(subnetenv.parse(path.read_text(encoding="utf-8", errors="replace")).networks)

    def _find_directory(self, path: Path) -> None:
        """A directory that is ours as a whole. A mount point cannot be removed, what is in it can."""
        path.lstat()
        mounted = path.is_mount() and not path.is_symlink()
        self.files += sorted(path.iterdir()) if mounted else [path]

    def _find_state(self, path: Path) -> None:
        """A registry is not one node's: the databases stay, and all beside them goes."""
        entries = sorted(path.iterdir())
        databases = [entry for entry in entries if entry.is_file() and _is_database(entry)]
        if not databases:
            self._find_directory(path)
            return
        for database in databases:
            self._note(database, "stays: a registry, in which are other nodes' leases, too")
        journals = tuple(f"{database}-" for database in databases)  # such as registry.db-wal
        self.files += [entry for entry in entries if entry not in databases and not str(entry).startswith(journals)]


class _Result(NamedTuple):
    """A cached result, of which network and for which container."""

    path: Path
    network: str
    container: str
    interface: str


def _results(directory: Path) -> list[_Result]:
    """What libcni has cached. Files that do not say of themselves whose they are, are passed over."""
    found = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        try:
            document: Any = json.loads(path.read_bytes())
            network, container = str(document["networkName"]), str(document["containerId"])
            found.append(_Result(path, network, container, str(document.get("ifName", ""))))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def _contains(path: Path, marks: Iterable[bytes]) -> bool:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(mark) >= 0 for mark in marks)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
