"""Host ports of pods: mapped, taken back, kept, each with one pod only.

What is mapped is known by files (`nankeen.pods.portstore`); the packet filter is made equal to them, as a whole at the
start and after foreign hands, port by port otherwise. Nothing here waits: a request is served before it or after.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import cache, partial
from pathlib import Path

from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Attachment
from nankeen.kernel import sysctl
from nankeen.kernel.hostports import HostPortTable
from nankeen.kernel.netlink import address
from nankeen.kernel.netlink.conntrack import Flow
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.model.address import IPAddress, IPNetwork, family_of
from nankeen.model.errors import KernelError
from nankeen.model.hostport import HostPort, PortMapping, PortTable, Transport
from nankeen.model.state import Sysctl
from nankeen.pods.attach import write_setting
from nankeen.pods.portstore import PodPorts, PortStore, key_of

DIRECTORY = Path("/run/nankeen/ports")

_NOTHING: frozenset[HostPort] = frozenset()
_log = logging.getLogger(__name__)


class HostPorts:
    """The host ports of one node, in the network namespace of the caller. Methods raise `KernelError` and `OSError`."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        """`directory` is where files tell what is mapped."""
        self._store = PortStore(directory)
        self._table = HostPortTable()
        self._known: dict[str, PodPorts] | None = None
        self._networks: frozenset[IPNetwork] = frozenset()

    def map(self, wanted: PodPorts) -> None:
        """From now on these ports, and no others, lead to the pod. Where it fails, the pod has those of before.

        Raises `CniError` where another pod has one of them, and where the pod has no address of a port's family.
        """
        self._vacate(wanted)
        before = self._pods.get(wanted.key)
        if not wanted.mappings:
            if before is not None:
                self._take(before)
            return
        _check_families(wanted)
        self._make_room(wanted)
        self._record(wanted)
        try:
            self._step(wanted.host_ports, before.host_ports if before else _NOTHING)
            _open_localhost(wanted)
            self._forget(wanted.host_ports, _leads_elsewhere)
        except BaseException:
            self._put_back(wanted, before)
            raise

    def unmap(self, network: str, attachment: Attachment) -> None:
        """Takes an attachment's ports back; where it has none, that is no error."""
        found = self._pods.get(key_of(network, attachment))
        if found is not None:
            self._take(found)

    def collect(self, network: str, valid: AbstractSet[Attachment]) -> None:
        """Takes back the ports of attachments to that network that are no more."""
        for found in list(self._pods.values()):
            if found.network == network and found.attachment not in valid:
                self._take(found)

    def faults(self, wanted: PodPorts) -> Iterator[str]:
        """All that keeps an attachment's ports from working, in words."""
        if wanted.mappings:
            yield from self._table.faults(self._wanted(), sorted(wanted.host_ports, key=str))
            if _needs_localhost(wanted) and sysctl.read(_setting(wanted)) != "1":
                yield f"{_setting(wanted)} is not 1"

    def converge(self) -> list[str]:
        """Makes the packet filter equal to what is mapped, and says what was changed."""
        if not self._pods and not self._table.is_there():
            return []  # there never was any
        changed = self._table.converge(self._wanted())
        return changed + [f"~ {_setting(found)} = 1" for found in self._pods.values() if _open_localhost(found)]

    @property
    def port(self) -> int:
        """The netlink port of what is done here, as `HostPortTable.port`."""
        return self._table.port

    def close(self) -> None:
        """Leaves all as it is."""
        self._table.close()

    @property
    def _pods(self) -> dict[str, PodPorts]:
        if self._known is None:
            self._known = {found.key: found for found in self._store.read()}
        return self._known

    def _vacate(self, wanted: PodPorts) -> None:
        """Takes back the ports of whoever had the pod's addresses before: nobody else's port may lead to this pod."""
        addresses = {item.ip for item in wanted.addresses}
        for other in list(self._pods.values()):
            again = other.network == wanted.network and any(item.ip in addresses for item in other.addresses)
            if again and other.key != wanted.key:
                _log.warning("host ports of container %s are taken back: it is gone", other.attachment.container)
                self._take(other)

    def _make_room(self, wanted: PodPorts) -> None:
        """Raises `CniError` where a pod that stands has one of the ports; of one that is gone they are taken back."""
        for other in list(self._pods.values()):
            mapping = _collision(wanted, other) if other.key != wanted.key else None
            if mapping is None:
                continue
            if not _is_gone(other):
                problem = f"{mapping} is taken by container {other.attachment.container}"
                raise CniError(
                    Code.PORT_TAKEN, problem, where="portMappings", remedy="ask for another hostPort or hostIP"
                )
            _log.warning("%s is taken back from container %s, which is gone", mapping, other.attachment.container)
            self._take(other)

    def _take(self, found: PodPorts) -> None:
        self._step(_NOTHING, found.host_ports)
        self._forget(found.host_ports, _leads_there)
        self._store.remove(found)
        del self._pods[found.key]
        if _needs_localhost(found) and not any(
            other.bridge == found.bridge and _needs_localhost(other) for other in self._pods.values()
        ):
            write_setting(Sysctl(_setting(found), "0"))

    def _record(self, ports: PodPorts) -> None:
        self._store.write(ports)
        self._pods[ports.key] = ports

    def _put_back(self, wanted: PodPorts, before: PodPorts | None) -> None:
        if before is not None:
            self._record(before)
        else:
            self._store.remove(wanted)
            del self._pods[wanted.key]
        try:
            self._step(before.host_ports if before else _NOTHING, wanted.host_ports)
        except KernelError as error:
            _log.error("the packet filter has ports of a pod that failed, until the next audit: %s", error)

    def _step(self, come: frozenset[HostPort], gone: frozenset[HostPort]) -> None:
        networks, wanted = self._networks, self._wanted(come, gone)
        if self._networks == networks:
            self._table.step(wanted, come - gone, gone - come)
        else:
            self._table.converge(wanted)

    def _wanted(self, come: frozenset[HostPort] = _NOTHING, gone: frozenset[HostPort] = _NOTHING) -> PortTable:
        """What the table shall be. A network that once had a pod with ports stays in it: it is no harm."""
        self._networks |= {item.network for found in self._pods.values() for item in found.addresses}
        ports = frozenset(port for found in self._pods.values() for port in found.host_ports)
        return PortTable(tuple(sorted(self._networks, key=_order)), (ports - gone) | come)

    def _forget(self, ports: Iterable[HostPort], leads: Callable[[HostPort, Flow], bool]) -> None:
        """Ends the UDP flows to ports that lead where they should not any more."""
        local = cache(_local_addresses)

        def is_stale(port: HostPort, flow: Flow) -> bool:
            return leads(port, flow) and _is_to_node(port, flow, local)

        for port in ports:
            if port.protocol is Transport.UDP:
                number = port.protocol.value
                self._table.forget_flows(family_of(port.target), number, port.port, partial(is_stale, port))


def _check_families(wanted: PodPorts) -> None:
    families = {family_of(item) for item in wanted.addresses}
    for mapping in wanted.mappings:
        if not any(map(mapping.is_in, families)):
            problem = f"{mapping} has nowhere to lead: the pod has no address of that family"
            raise CniError(Code.INVALID_CONFIG, problem, where="portMappings", remedy="leave out hostIP")


def _collision(wanted: PodPorts, other: PodPorts) -> PortMapping | None:
    """The mapping of a pod that another pod's keeps out."""
    return next((mine for mine in wanted.mappings if any(map(mine.collides, other.mappings))), None)


def _is_gone(found: PodPorts) -> bool:
    """Whether the pod has certainly ended, though nobody has said so."""
    if not found.host_name:
        return False
    with NetlinkSocket() as node:
        return node.index(found.host_name) is None


def _needs_localhost(found: PodPorts) -> bool:
    """Whether a port is to be reached by 127.0.0.1, which the kernel then must let through to the bridge and back. The
    table's rules keep others from reaching the node by it.
    """
    return bool(found.bridge) and any(
        port.target.version == 4 and (port.address is None or port.address.is_loopback) for port in found.host_ports
    )


def _setting(found: PodPorts) -> str:
    return f"net/ipv4/conf/{found.bridge}/route_localnet"


def _open_localhost(found: PodPorts) -> bool:
    """Whether there was anything to change. A bridge that is not there, yet or any more, has nothing to be opened."""
    if not _needs_localhost(found) or sysctl.read(_setting(found)) in (None, "1"):
        return False
    write_setting(Sysctl(_setting(found), "1"))
    return True


def _leads_elsewhere(port: HostPort, flow: Flow) -> bool:
    return flow.answerer != port.target


def _leads_there(port: HostPort, flow: Flow) -> bool:
    return flow.answerer == port.target


def _is_to_node(port: HostPort, flow: Flow, local: Callable[[], frozenset[IPAddress]]) -> bool:
    """Whether a flow's first packet was for that port: others to the same number are only passing by."""
    if port.address is not None:
        return flow.destination == port.address
    return flow.destination.is_loopback or flow.destination in local()


def _local_addresses() -> frozenset[IPAddress]:
    with NetlinkSocket() as node:
        bodies = [body for kind, body in node.dump(address.dump()) if kind == address.RTM_NEWADDR]
    found = [address.parse(body, {address.index_of(body): ""}) for body in bodies]
    return frozenset(item.interface.ip for item in found if item is not None)


def _order(network: IPNetwork) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen
