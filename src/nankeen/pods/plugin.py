"""The plugin: what the agent does when a runtime asks for something about a pod's interface."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from nankeen.cni.config import PluginConfig
from nankeen.cni.error import CniError, Code
from nankeen.cni.flannelconf import FlannelConfig
from nankeen.cni.ranges import whole
from nankeen.cni.request import Request, Verb
from nankeen.cni.result import NO_DNS, Result
from nankeen.cni.server import Handler
from nankeen.kernel.namespace import Namespace
from nankeen.model.address import IPAddress, IPInterface
from nankeen.model.errors import KernelError
from nankeen.pods import bridge, check, flannel, leftovers, podfilter, resolvconf
from nankeen.pods.addresses import AddressStore, Reservation
from nankeen.pods.attach import attach, is_own
from nankeen.pods.hostports import DIRECTORY, HostPorts
from nankeen.pods.interface import PodInterface, host_name, pod_interface, result
from nankeen.pods.network import PodNetwork
from nankeen.pods.portstore import PodPorts
from nankeen.pods.removal import Remover, remove_inside
from nankeen.pods.turns import Turns

DATA_DIRECTORY = Path("/var/lib/cni/networks")
"""host-local's."""
PATIENCE_SECONDS = 10.0
"""How long after the agent's start an ADD waits for the pod network."""
_SHOWN = 10
"""Faults that CHECK tells at most."""


class Plugin:
    """Serves requests: it is a handler for `nankeen.cni.server.serve`.

    Until the agent tells it the node's pod network, an ADD is told to try again later; a DEL needs none. An agent that
    has just been started again will know its network in a moment, so that for the first seconds an ADD waits for it.
    """

    def __init__(
        self, data_directory: Path = DATA_DIRECTORY, patience: float = PATIENCE_SECONDS, *, ports: Path = DIRECTORY
    ) -> None:
        """Addresses are kept in directories below the first, host ports in `ports`."""
        self.host_ports = HostPorts(ports)
        self._data_directory = data_directory
        self._network: PodNetwork | None = None
        self._reason = "the agent has only just started"
        self._ready = asyncio.Event()
        self._impatient = time.monotonic() + patience
        self._turns = Turns()
        self._remover = Remover()
        self._stores: dict[Path, AddressStore] = {}
        self._verbs: Mapping[Verb, Handler] = {
            Verb.ADD: self.add,
            Verb.DEL: self.delete,
            Verb.CHECK: self.check,
            Verb.GC: self.collect,
            Verb.STATUS: self.status,
        }

    def ready(self, network: PodNetwork) -> None:
        """From now on pods are attached to this network."""
        self._network = network
        self._ready.set()

    def not_ready(self, reason: str) -> None:
        """From now on no pod is attached, for this reason, which the runtime is told."""
        self._network = None
        self._ready.clear()
        self._reason = reason

    def close(self) -> None:
        """Leaves pods as they are."""
        self.host_ports.close()

    async def __call__(self, request: Request, descriptor: int | None) -> Result | bytes | None:
        """Serves a request; `descriptor` refers to the pod's namespace, and stays the caller's."""
        if request.verb is Verb.STATUS:
            return await self._serve(request, descriptor)
        key = request.config.name, request.attachment
        async with self._turns.alone() if request.verb is Verb.GC else self._turns.of(key):
            return await self._serve(request, descriptor)

    async def _serve(self, request: Request, descriptor: int | None) -> Result | bytes | None:
        if isinstance(request.config, FlannelConfig):
            if request.verb is Verb.ADD:
                await self._known_network()
            return await flannel.serve(request, request.config, partial(self._serve_inside, descriptor=descriptor))
        return await self._verbs[request.verb](request, descriptor)

    async def _serve_inside(self, request: Request, descriptor: int | None) -> Result | None:
        done = await self._verbs[request.verb](request, descriptor)
        return done if isinstance(done, Result) else None

    async def add(self, request: Request, descriptor: int | None) -> Result:
        """Attaches the pod; the same attachment again gives the same result. Leaves nothing behind where it fails.

        Raises `CniError`, `InputError`, `KernelError` and `OSError`.
        """
        config, network = _config(request), await self._known_network()
        resolv_conf = config.ipam.resolv_conf
        dns = resolvconf.read(resolv_conf) if config.dns == NO_DNS and resolv_conf else config.dns
        with _namespace(request, descriptor) as pod:
            reservation = await self._reserve(request, config, network)
            try:
                wanted = self._attach(request, config, network, reservation, pod)
            except BaseException:
                await self._store(config).free(reservation.fresh)
                raise
        return result(wanted, reservation.gateways, request.namespace, dns)

    def _attach(
        self, request: Request, config: PluginConfig, network: PodNetwork, reservation: Reservation, pod: Namespace
    ) -> PodInterface:
        """What is made in the kernel for an ADD. There is nothing to wait for: a request ends before it, or after."""
        wanted = pod_interface(request, config, network, reservation)
        hung = bridge.wanted_bridge(config, network, reservation)
        if hung is not None:
            bridge.ensure(hung)
        addresses = [item.ip for item in wanted.addresses]
        try:
            self.host_ports.map(_ports(request, config, wanted.addresses, wanted.host_name))
            if config.spoof_check:  # before the pod can send anything
                podfilter.guard(wanted.host_name, wanted.hardware_address)
            if config.masquerade:
                podfilter.masquerade(addresses, [*network.networks, *(item.network for item in wanted.addresses)])
            attach(wanted, pod)
        except BaseException:
            if reservation.fresh:
                self.host_ports.unmap(config.name, request.attachment)
                _unfilter(config, [wanted.host_name], addresses)
            raise
        return wanted

    async def delete(self, request: Request, descriptor: int | None) -> None:
        """Detaches the pod and frees its addresses; what is gone already is no error.

        Raises `CniError` without the store's lock, `KernelError` and `OSError`.
        """
        config = _config(request)
        self.host_ports.unmap(config.name, request.attachment)
        name = host_name(config.name, request.attachment, config.bridge)
        stood = await self._remover.remove(name)
        if not stood and descriptor is not None:
            with suppress(CniError), _namespace(request, descriptor) as pod:  # it may have gone: its end went with it
                remove_inside(request.interface, pod)
        _unfilter(config, [name], await self._store(config).release(request.attachment))

    async def check(self, request: Request, descriptor: int | None) -> None:
        """Compares the attachment with what its ADD answered. Raises `CniError`, which names what differs."""
        config, previous = _config(request), request.previous
        if previous is None:
            raise CniError(Code.INVALID_CONFIG, "missing prevResult")
        expected = check.expect(request, config, previous, self._network.mtu if self._network else None)
        with _namespace(request, descriptor) as pod:
            faults = list(check.faults(expected, check.look(expected, pod)))
        faults += check.reservation_faults(expected, request, self._store(config).holders())
        addresses = [item.address for item in previous.addresses]
        faults += self.host_ports.faults(_ports(request, config, addresses, expected.host_name))
        if faults:
            told = "; ".join(faults[:_SHOWN]) + (f"; and {len(faults) - _SHOWN} more" if faults[_SHOWN:] else "")
            raise CniError(Code.NOT_AS_ADDED, told, where="CHECK", remedy="DEL and ADD make it anew")

    async def collect(self, request: Request, _descriptor: int | None) -> None:
        """Takes back what is left of attachments that are no more. Raises `KernelError` and `OSError`."""
        config, store = _config(request), self._store(_config(request))
        gone = leftovers.stale(store.holders(), request.valid)
        names = {host_name(config.name, item.attachment, config.bridge) for item in gone}
        names |= set(leftovers.stale_ports(config, request.valid))
        self.host_ports.collect(config.name, request.valid)
        await self._remover.remove(*names)
        _unfilter(config, names, await store.forget(gone) if gone else ())

    async def status(self, request: Request, _descriptor: int | None) -> None:
        """Whether an ADD would be served. Raises `CniError` where not: with code 51 where pods are here already, for
        nobody keeps their network now.
        """
        if self._network is None:
            code = Code.LIMITED_CONNECTIVITY if self._store(_config(request)).holders() else Code.NOT_AVAILABLE
            raise CniError(code, f"the node has no pod network yet: {self._reason}")

    async def _known_network(self) -> PodNetwork:
        """The pod network, waited for in the agent's first seconds. Raises `CniError` where there is none."""
        if self._network is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._impatient - time.monotonic()):
                    await self._ready.wait()
        if self._network is None:
            raise CniError(Code.TRY_AGAIN_LATER, f"the node has no pod network yet: {self._reason}")
        return self._network

    async def _reserve(self, request: Request, config: PluginConfig, network: PodNetwork) -> Reservation:
        """The attachment's addresses. Where a range is used up, what was forgotten in it is found first."""
        store, ranges = self._store(config), config.ipam.ranges or whole(network.subnets)
        try:
            return await store.reserve(request.attachment, ranges, request.addresses)
        except CniError as error:
            results = self._data_directory.parent / "results"
            if error.code != Code.ADDRESSES_EXHAUSTED or not await store.forget(
                leftovers.forgotten(store.holders(), config.name, results)
            ):
                raise
        return await store.reserve(request.attachment, ranges, request.addresses)

    def _store(self, config: PluginConfig) -> AddressStore:
        directory = (config.ipam.data_directory or self._data_directory) / config.name
        return self._stores.setdefault(directory, AddressStore(directory))


def _config(request: Request) -> PluginConfig:
    if not isinstance(request.config, PluginConfig):
        raise TypeError("a configuration of type flannel is served by its delegate's")
    return request.config


def _ports(request: Request, config: PluginConfig, addresses: Sequence[IPInterface], name: str) -> PodPorts:
    """The host ports that lead to a pod of these addresses; `name` is that of the node's end."""
    return PodPorts(config.name, request.attachment, tuple(addresses), config.ports, config.bridge, name)


def _unfilter(config: PluginConfig, ports: Iterable[str], addresses: Sequence[IPAddress]) -> None:
    """Takes pods' rules of the packet filter away, where the configuration asks for any. Raises `KernelError`."""
    if config.spoof_check:
        podfilter.unguard(ports)
    if config.masquerade:
        podfilter.unmasquerade(addresses)


def _namespace(request: Request, descriptor: int | None) -> Namespace:
    """The pod's namespace, held by a descriptor of our own. Raises `CniError` where it is gone, is none, or is ours."""
    if descriptor is None:
        raise CniError(Code.CONTAINER_UNKNOWN, "the network namespace cannot be opened", where=request.namespace)
    try:
        pod = Namespace(os.dup(descriptor))
    except KernelError as error:
        raise CniError(Code.INVALID_NAMESPACE, error.problem, where=request.namespace) from error
    if is_own(pod):
        pod.close()
        raise CniError(Code.INVALID_NAMESPACE, "the pod's network namespace is the node's own", where=request.namespace)
    return pod
