"""The plugin: what the agent does when a runtime asks for something about a pod's interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from nankeen.cni.chain import ChainedConfig
from nankeen.cni.config import PluginConfig
from nankeen.cni.error import CniError, Code
from nankeen.cni.flannelconf import FlannelConfig
from nankeen.cni.ranges import whole
from nankeen.cni.request import Request, Verb
from nankeen.cni.result import NO_DNS, Result, ResultInterface
from nankeen.cni.server import Handler
from nankeen.kernel.namespace import Namespace
from nankeen.model.address import IPInterface
from nankeen.pods import bandwidth, bridge, check, flannel, leftovers, podfilter, resolvconf
from nankeen.pods.addresses import AddressStore, Reservation
from nankeen.pods.attach import attach
from nankeen.pods.chain import Chain
from nankeen.pods.hostports import DIRECTORY, HostPorts
from nankeen.pods.interface import Attached, host_name, pod_interface, result
from nankeen.pods.network import PodNetwork
from nankeen.pods.podfilter import PodFilter
from nankeen.pods.portstore import PodPorts
from nankeen.pods.removal import Remover, detach, remove_inside
from nankeen.pods.sandbox import sandbox
from nankeen.pods.turns import Turns

DATA_DIRECTORY = Path("/var/lib/cni/networks")
"""host-local's."""
PATIENCE_SECONDS = 10.0
"""How long after the agent's start an ADD waits for the pod network."""


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
        self._filter = PodFilter()
        self._chain = Chain(self.host_ports, self._remover)
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
        self._filter.close()

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
        if isinstance(request.config, ChainedConfig):
            return await self._chain.serve(request, descriptor)
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
        with sandbox(request, descriptor) as pod:
            reservation = await self._reserve(request, config, network)
            try:
                attached = self._attach(request, config, network, reservation, pod)
            except BaseException:
                await self._store(config).free(reservation.fresh)
                raise
        done = result(attached, reservation.gateways, request.namespace, dns)
        return done if request.previous is None else done.after(request.previous)

    def _attach(
        self, request: Request, config: PluginConfig, network: PodNetwork, reservation: Reservation, pod: Namespace
    ) -> Attached:
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
            bridge_address = attach(wanted, pod)
            ifb = _shape(request, config, wanted.host_name, fresh=bool(reservation.fresh))
        except BaseException:
            if reservation.fresh:
                self.host_ports.unmap(config.name, request.attachment)
                self._filter.clear([wanted.host_name], addresses)
            raise
        return Attached(wanted, bridge_address, () if ifb is None else (ifb,))

    async def delete(self, request: Request, descriptor: int | None) -> None:
        """Detaches the pod and frees its addresses; what is gone already is no error.

        Raises `CniError` without the store's lock, `KernelError` and `OSError`.
        """
        config = _config(request)
        self.host_ports.unmap(config.name, request.attachment)
        name = host_name(config.name, request.attachment, config.bridge)
        ifb = bandwidth.ifb_name(config.name, request.container, request.interface)
        if name not in await self._remover.remove(name, ifb) and descriptor is not None:
            with suppress(CniError), sandbox(request, descriptor) as pod:  # it may have gone: its end went with it
                remove_inside(request.interface, pod)
        store = self._store(config)
        # The addresses are given back last: a crash before would leave rules that nobody knows the pod of.
        self._filter.clear([name], await store.held(request.attachment) if self._filter.masquerades() else ())
        await store.release(request.attachment)

    async def check(self, request: Request, descriptor: int | None) -> None:
        """Compares the attachment with what its ADD answered. Raises `CniError`, which names what differs."""
        config, previous = _config(request), request.previous
        if previous is None:
            raise CniError(Code.INVALID_CONFIG, "missing prevResult")
        expected = check.expect(request, config, previous, self._network.mtu if self._network else None)
        with sandbox(request, descriptor) as pod:
            faults = list(check.faults(expected, check.look(expected, pod)))
        faults += check.reservation_faults(expected, request, self._store(config).holders())
        addresses = [item.address for item in previous.addresses]
        faults += self.host_ports.faults(_ports(request, config, addresses, expected.host_name))
        faults += bandwidth.faults(config.shaping, config.name, request.attachment, expected.host_name)
        check.refuse(faults)

    async def collect(self, request: Request, _descriptor: int | None) -> None:
        """Takes back what is left of attachments that are no more. Raises `KernelError` and `OSError`."""
        config, store = _config(request), self._store(_config(request))
        gone = leftovers.stale(store.holders(), request.valid)
        names = {host_name(config.name, item.attachment, config.bridge) for item in gone}
        names |= {
            bandwidth.ifb_name(config.name, item.attachment.container, item.attachment.interface) for item in gone
        }
        names |= {*leftovers.stale_ports(config, request.valid), *bandwidth.stale(config.name, request.valid)}
        self.host_ports.collect(config.name, request.valid)
        await self._remover.remove(*names)
        self._filter.clear(names, [item.address for item in gone])
        if gone:
            await store.forget(gone)

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
            if error.code != Code.ADDRESSES_EXHAUSTED or not await self._forget(store, config):
                raise
        return await store.reserve(request.attachment, ranges, request.addresses)

    async def _forget(self, store: AddressStore, config: PluginConfig) -> bool:
        """Whether there were pods that ended long ago, of whom nobody told; what they had is free now."""
        lost = tuple(leftovers.forgotten(store.holders(), config, self._data_directory.parent / "results"))
        names = [host_name(config.name, item.attachment, config.bridge) for item in lost]
        self._filter.clear(names, [item.address for item in lost])
        return bool(await store.forget(lost))

    def _store(self, config: PluginConfig) -> AddressStore:
        directory = (config.ipam.data_directory or self._data_directory) / config.name
        return self._stores.setdefault(directory, AddressStore(directory))


def _config(request: Request) -> PluginConfig:
    if not isinstance(request.config, PluginConfig):
        raise TypeError("a configuration of another type is served by others")
    return request.config


def _ports(request: Request, config: PluginConfig, addresses: Sequence[IPInterface], name: str) -> PodPorts:
    """The host ports that lead to a pod of these addresses; `name` is that of the node's end."""
    return PodPorts(config.name, request.attachment, tuple(addresses), config.ports, config.bridge, name)


def _shape(request: Request, config: PluginConfig, name: str, *, fresh: bool) -> ResultInterface | None:
    """Limits what passes the node's end of that name, and tells what was made. A fresh end goes where it fails."""
    if not config.shaping:
        return None
    try:
        return bandwidth.shape(config.shaping, config.name, request.attachment, name)
    except BaseException:
        if fresh:
            detach(name, request.interface, None)
        raise
