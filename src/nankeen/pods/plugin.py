"""The plugin: what the agent does when a runtime asks to add or delete a pod's interface."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Request, Verb
from nankeen.cni.result import Result, ResultAddress, ResultInterface, ResultRoute
from nankeen.cni.server import Handler
from nankeen.kernel.namespace import Namespace
from nankeen.model.address import IPInterface, IPNetwork
from nankeen.model.errors import KernelError
from nankeen.model.state import Route
from nankeen.pods.addresses import AddressStore, Attachment
from nankeen.pods.attach import PodInterface, attach, detach, host_name
from nankeen.pods.network import PodNetwork, gateway

DATA_DIRECTORY = Path("/var/lib/cni/networks")
"""host-local's."""
PATIENCE_SECONDS = 10.0
"""How long after the agent's start an ADD waits for the pod network."""
_POD_END = 2
"""Index of the pod's interface in a result: the bridge and the node's end come before it."""


class Plugin:
    """Serves requests one at a time, in the order they came: a DEL that overtook its ADD would leave an interface.

    It is a handler for `nankeen.cni.server.serve`. Until the agent tells it the node's pod network, an ADD is told to
    try again later; a DEL needs none. An agent that has just been started again will know its network in a moment, so
    that for the first seconds an ADD waits for it.
    """

    def __init__(self, data_directory: Path = DATA_DIRECTORY, patience: float = PATIENCE_SECONDS) -> None:
        self._data_directory = data_directory
        self._network: PodNetwork | None = None
        self._reason = "the agent has only just started"
        self._ready = asyncio.Event()
        self._impatient = time.monotonic() + patience
        self._turn = asyncio.Lock()
        self._verbs: Mapping[Verb, Handler] = {Verb.ADD: self.add, Verb.DEL: self.delete}

    def ready(self, network: PodNetwork) -> None:
        """From now on pods are attached to this network."""
        self._network = network
        self._ready.set()

    def not_ready(self, reason: str) -> None:
        """From now on no pod is attached, for this reason, which the runtime is told."""
        self._network = None
        self._ready.clear()
        self._reason = reason

    async def __call__(self, request: Request, descriptor: int | None) -> Result | None:
        """Serves a request; `descriptor` refers to the pod's namespace, and stays the caller's."""
        async with self._turn:
            return await self._verbs[request.verb](request, descriptor)

    async def add(self, request: Request, descriptor: int | None) -> Result:
        """Attaches the pod; the same attachment again gives the same result. Leaves nothing behind where it fails.

        Raises `CniError`, `KernelError` and `OSError`.
        """
        network = await self._known_network()
        with _namespace(request, descriptor) as pod:
            store = self._store(request)
            reservation = await store.reserve(_attachment(request), network.subnets)
            wanted = pod_interface(request, network, reservation.addresses)
            try:
                attach(wanted, pod)
            except BaseException:
                await store.free(reservation.fresh)
                raise
        return _result(wanted, request.namespace)

    async def _known_network(self) -> PodNetwork:
        """The pod network, waited for in the agent's first seconds. Raises `CniError` where there is none."""
        if self._network is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._impatient - time.monotonic()):
                    await self._ready.wait()
        if self._network is None:
            raise CniError(Code.TRY_AGAIN_LATER, f"the node has no pod network yet: {self._reason}")
        return self._network

    async def delete(self, request: Request, descriptor: int | None) -> None:
        """Detaches the pod and frees its addresses; what is gone already is no error.

        Raises `CniError` without the store's lock, `KernelError` and `OSError`.
        """
        attachment = _attachment(request)
        name = host_name(request.config.name, attachment)
        try:
            pod = _namespace(request, descriptor)
        except CniError:  # it has gone, and the pod's end with it
            detach(name, request.interface, None)
        else:
            with pod:
                detach(name, request.interface, pod)
        await self._store(request).release(attachment)

    def _store(self, request: Request) -> AddressStore:
        directory = request.config.data_directory or self._data_directory
        return AddressStore(directory / request.config.name)


def pod_interface(request: Request, network: PodNetwork, addresses: tuple[IPInterface, ...]) -> PodInterface:
    """The interface that the request asks for."""
    config = request.config
    return PodInterface(
        name=request.interface,
        host_name=host_name(config.name, _attachment(request)),
        bridge=config.bridge,
        mtu=config.mtu or network.mtu,
        addresses=addresses,
        routes=tuple(_routes(request, network, addresses)),
        hairpin=config.hairpin,
    )


def _routes(request: Request, network: PodNetwork, addresses: tuple[IPInterface, ...]) -> Iterator[Route]:
    """To the pod network of each family that the pod has, and to everywhere, by the bridge."""
    for address in addresses:
        everywhere: IPNetwork = IPv4Network("0.0.0.0/0") if address.version == 4 else IPv6Network("::/0")
        wanted = [everywhere] if request.config.default_gateway else []
        wanted += [item for item in network.networks if item.version == address.version]
        for destination in dict.fromkeys(wanted):
            if destination != address.network:  # where the kernel has put one
                yield Route(destination, request.interface, gateway(address.network))


def _result(wanted: PodInterface, sandbox: str) -> Result:
    return Result(
        interfaces=(
            ResultInterface(wanted.bridge),
            ResultInterface(wanted.host_name, wanted.host_hardware_address, wanted.mtu),
            ResultInterface(wanted.name, wanted.hardware_address, wanted.mtu, sandbox),
        ),
        addresses=tuple(ResultAddress(item, gateway(item.network), _POD_END) for item in wanted.addresses),
        routes=tuple(ResultRoute(item.destination, item.gateway) for item in wanted.routes if item.gateway),
    )


def _attachment(request: Request) -> Attachment:
    return Attachment(request.container, request.interface)


def _namespace(request: Request, descriptor: int | None) -> Namespace:
    """The pod's namespace, held by a descriptor of our own. Raises `CniError` where it is gone, or is none."""
    if descriptor is None:
        raise CniError(Code.CONTAINER_UNKNOWN, "the network namespace cannot be opened", where=request.namespace)
    try:
        return Namespace(os.dup(descriptor))
    except KernelError as error:
        raise CniError(Code.INVALID_NAMESPACE, error.problem, where=request.namespace) from error
