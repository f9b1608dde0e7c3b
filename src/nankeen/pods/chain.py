"""The later members of a chain: each changes what others have attached, and passes their result on.

Which plugin made the interface makes no difference: the node's end is found by the pair itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from nankeen.cni.chain import ChainedConfig, Firewall, Loopback, Member, PortMap
from nankeen.cni.config import fields_of
from nankeen.cni.error import CniError, Code
from nankeen.cni.passing import UNCHANGED, Changes, pass_on
from nankeen.cni.request import Request, Verb
from nankeen.cni.result import Result, ResultInterface
from nankeen.cni.server import Handler
from nankeen.cni.tuning import Tuning
from nankeen.kernel.namespace import Namespace
from nankeen.model.address import IPInterface
from nankeen.model.shaping import Shaping
from nankeen.pods import bandwidth, loopback, tuning
from nankeen.pods.check import refuse
from nankeen.pods.ends import node_end
from nankeen.pods.hostports import HostPorts
from nankeen.pods.portstore import PodPorts
from nankeen.pods.removal import Remover
from nankeen.pods.sandbox import sandbox


class Chain:
    """Serves requests whose configuration is that of a later member. Methods raise what `as_cni_error` can tell."""

    def __init__(self, host_ports: HostPorts, remover: Remover) -> None:
        self._host_ports = host_ports
        self._remover = remover
        self._verbs: Mapping[Verb, Handler] = {
            Verb.ADD: self.add,
            Verb.DEL: self.delete,
            Verb.CHECK: self.check,
            Verb.GC: self.collect,
        }

    async def serve(self, request: Request, descriptor: int | None) -> Result | bytes | None:
        """Serves a request; a STATUS has nothing to wait for."""
        verb = self._verbs.get(request.verb)
        return None if verb is None else await verb(request, descriptor)

    async def add(self, request: Request, descriptor: int | None) -> Result | bytes:
        """Makes what the member is for; answers the previous result with what has changed."""
        config, member = _parts(request)
        if isinstance(member, Firewall) or (isinstance(member, Shaping) and not member):
            return _passed_on(request)
        with sandbox(request, descriptor) as pod:
            match member:
                case Loopback():
                    found = loopback.set_up(pod, request.namespace)
                    return found if request.previous is None else _passed_on(request)
                case Tuning():
                    tuning.tune(member, request.interface, pod)
                    return _passed_on(request, Changes((), member.hardware_address, member.mtu))
                case Shaping():
                    ifb = bandwidth.shape(member, config.name, request.attachment, _end(request, pod))
                    return _passed_on(request, Changes(() if ifb is None else (ifb,)))
                case PortMap():
                    self._host_ports.map(_ports(request, config, member, pod))
                    return _passed_on(request)

    async def delete(self, request: Request, descriptor: int | None) -> None:
        """Takes back what an ADD made; what is gone already is no error."""
        config, member = _parts(request)
        match member:
            case Shaping():
                await self._remover.remove(
                    bandwidth.ifb_name(config.name, request.container, request.interface),
                )
            case PortMap():
                self._host_ports.unmap(config.name, request.attachment)
            case Loopback():
                if descriptor is not None:
                    with suppress(CniError), sandbox(request, descriptor) as pod:  # it may have gone
                        loopback.set_down(pod)

    async def check(self, request: Request, descriptor: int | None) -> None:
        """Compares what stands with what is to be. Raises `CniError`, which names what differs."""
        with sandbox(request, descriptor) as pod:
            refuse(self._faults(request, pod))

    async def collect(self, request: Request, _descriptor: int | None) -> None:
        """Takes back what is left of attachments that are no more."""
        config, member = _parts(request)
        match member:
            case Shaping():
                await self._remover.remove(*bandwidth.stale(config.name, request.valid))
            case PortMap():
                self._host_ports.collect(config.name, request.valid)

    def _faults(self, request: Request, pod: Namespace) -> Iterator[str]:
        config, member = _parts(request)
        match member:
            case Loopback():
                yield from loopback.faults(pod)
            case Tuning():
                yield from tuning.faults(member, request.interface, pod)
            case Shaping() if member:
                yield from bandwidth.faults(member, config.name, request.attachment, _end(request, pod))
            case PortMap():
                yield from self._host_ports.faults(_ports(request, config, member, pod))


def _parts(request: Request) -> tuple[ChainedConfig, Member]:
    config = request.config
    if not isinstance(config, ChainedConfig):
        raise TypeError("it is the configuration of no member of a chain")
    return config, config.member


def _passed_on(request: Request, changes: Changes = UNCHANGED) -> bytes:
    previous = fields_of(dict(request.document)).object("prevResult")
    assert previous is not None  # noqa: S101  (without one the request was refused)
    return pass_on(previous.besides(), request.config.version, request.interface, changes)


def _end(request: Request, pod: Namespace) -> str:
    """The name of the node's end. Raises `CniError` where there is none."""
    found = node_end(request.interface, pod)
    if found is None:
        problem = f"the pod's {request.interface} has no other end on the node"
        raise CniError(Code.UNSUPPORTED_FIELD, problem, where="bandwidth", remedy="it limits veth pairs alone")
    return found.name


def _ports(request: Request, config: ChainedConfig, member: PortMap, pod: Namespace) -> PodPorts:
    """The host ports that lead to the pod's addresses, as the previous result tells them."""
    end = node_end(request.interface, pod)
    return PodPorts(
        network=config.name,
        attachment=request.attachment,
        addresses=_addresses(request.previous),
        mappings=member.mappings,
        bridge=end.way if end else "",
        host_name=end.name if end else "",
    )


def _addresses(previous: Result | None) -> tuple[IPInterface, ...]:
    """Those of the pod: on an interface in a sandbox, or on none that is named."""
    if previous is None:
        return ()
    inside = {index for index, item in enumerate(previous.interfaces) if _is_inside(item)}
    return tuple(item.address for item in previous.addresses if item.interface is None or item.interface in inside)


def _is_inside(item: ResultInterface) -> bool:
    return bool(item.sandbox)
