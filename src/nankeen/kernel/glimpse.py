"""A world that is read as far as packets come: of every host its links and what they are wired to, of those that a
packet passes the rest, when it is asked.

What is read at several moments may never have been so at one of them: `Glimpse.changed` tells whose tables moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property

from nankeen.forwarding.ruleset import Ruleset
from nankeen.forwarding.tables import Tables
from nankeen.forwarding.world import Host, World
from nankeen.kernel import sysctl
from nankeen.kernel.namespace import Namespace, entered
from nankeen.kernel.netlink import link, linkfacts
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import observe_all
from nankeen.kernel.watch import Watch
from nankeen.kernel.world import ends, pairs, read_rules
from nankeen.model.observed import BridgePort, LinkFacts
from nankeen.model.state import Link, Object, State

More = Callable[[str, State], Iterable[Object]]
"""What is to know of a host besides its kernel's tables: by its name, and what these hold."""


class Glimpse:
    """The world, and whether it has changed since it was read."""

    def __init__(self, world: World, views: Mapping[str, _View]) -> None:
        self.world = world
        self._views = views

    def changed(self) -> tuple[str, ...]:
        """The hosts whose tables have been read and are others now. What hosts learn by themselves does not count."""
        return tuple(name for name, view in self._views.items() if view.has_changed())


@contextmanager
def glimpse(namespaces: Mapping[str, Namespace], more: More = lambda _name, _state: ()) -> Iterator[Glimpse]:
    """Every namespace by its name, and the veth pairs between them, as `survey` has them. Raises `KernelError`, also
    where the world is asked in the block.
    """
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(NetlinkSocket(found)) for name, found in namespaces.items()}
        views = {name: _View(name, namespaces[name], socket, more) for name, socket in sockets.items()}
        for view in views.values():
            stack.callback(view.close)
        wired = [end for name, view in views.items() for end in ends(name, view.bodies)]
        yield Glimpse(World.of([_SeenHost(view) for view in views.values()], pairs(wired, sockets, namespaces)), views)


class _View:
    """One namespace."""

    def __init__(self, name: str, namespace: Namespace, socket: NetlinkSocket, more: More) -> None:
        self.name = name
        self.namespace = namespace
        self.bodies = [body for kind, body in socket.dump(link.dump()) if kind == link.RTM_NEWLINK]
        self._socket = socket
        self._more = more
        self._watch: Watch | None = None

    @property
    def is_read(self) -> bool:
        return self._watch is not None

    @cached_property
    def links(self) -> list[Link]:
        names = dict(link.index_and_name(body) for body in self.bodies)
        return [link.parse(body, names) for body in self.bodies]

    @property
    def facts(self) -> Iterator[BridgePort | LinkFacts]:
        return (facts for body in self.bodies for facts in linkfacts.parse(body))

    @cached_property
    def state(self) -> State:
        self._begin()
        found = observe_all(self._socket, self.namespace, settings=False)
        return found | State(self._more(self.name, found))

    @cached_property
    def rules(self) -> Ruleset:
        self._begin()
        return read_rules(self.namespace)

    def has_changed(self) -> bool:
        if self._watch is None:
            return False
        known = {item.name: item for item in self.links}
        read = {item.name: item for item in self.state.of(Link)}
        return known != read or self._watch.has_changed()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _begin(self) -> None:
        if self._watch is None:
            self._watch = Watch(self.namespace, self._socket)


class _SeenHost(Host):
    """A host whose tables are read when they are asked."""

    def __init__(self, view: _View) -> None:
        object.__setattr__(self, "name", view.name)
        object.__setattr__(self, "_view", view)

    _view: _View

    @property
    def is_observed(self) -> bool:
        return True

    @property
    def is_read(self) -> bool:
        return self._view.is_read

    @property
    def state(self) -> State:
        return self._view.state

    @property
    def ruleset(self) -> Ruleset:
        return self._view.rules

    @cached_property
    def tables(self) -> Tables:
        return _SeenTables(self._view)


class _SeenTables(Tables):
    """Links are there; the rest is read when it is asked."""

    def __init__(self, view: _View) -> None:
        super().__init__(State([*view.links, *view.facts]))
        del self.__dict__["state"]  # that was a part; who asks for the whole has it read
        self.settings = _Settings(view.namespace)
        self._view = view

    @cached_property
    def state(self) -> State:  # type: ignore[override]  # it is read, and never set
        return self._view.state


class _Settings(dict[str, str]):
    """Kernel settings by path, each read when it is first asked."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__()
        self._namespace = namespace

    def __missing__(self, path: str) -> str:
        with entered(self._namespace):
            value = sysctl.read(path)
        if value is None:
            raise KeyError(path)
        self[path] = value
        return value

    def get(self, path: str, default: str | None = None) -> str | None:  # type: ignore[override]
        try:
            return self[path]
        except KeyError:
            return default
