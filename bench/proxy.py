"""A peer of the udp backend that moves one packet per system call, as flannel's proxy does: `proxy.c`, built and run.

What the udp backend is held against where flannel itself is not at hand, and whom it must understand.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from bench.cluster import Lab, lab
from bench.process import run, running
from nankeen.lab import Lab as FoundLab
from nankeen.lab import LabPod, find_lab

DEVICE = "flannel0"
PORT = 8285
MTU = 1500
"""Bytes of an outer packet, as an underlay has it unless it is told otherwise."""
OVERHEAD = 28
"""Bytes of the outer IPv4 and UDP headers."""

_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True, slots=True)
class Site:
    """A node that has a proxy: its network namespace as `ip netns` lists it, its underlay address, its pods' subnet."""

    namespace: str
    address: IPv4Address
    subnet: IPv4Network


@contextmanager
def proxied_lab() -> Iterator[Lab]:
    """A lab of two nodes with a pod each, and proxies in place of a backend."""
    with lab(nodes=2, pods=2, backend="alloc") as cluster:
        found = find_lab(cluster.name)
        for pod in found.pods:  # whose interfaces have the underlay's MTU otherwise
            run(cluster.inside(pod.name, "ip", "link", "set", "eth0", "mtu", str(MTU - OVERHEAD)))
        with proxies(_network(found), [_site(found, pod) for pod in found.pods]):
            yield cluster


def _network(found: FoundLab) -> IPv4Network:
    return IPv4Network(json.loads(found.network)["Network"])


def _site(found: FoundLab, pod: LabPod) -> Site:
    node = found.node(pod.node)
    subnet = IPv4Network(str(pod.addresses[0].network))
    return Site(node.namespaces.network.name, IPv4Address(str(node.addresses[0].ip)), subnet)


@contextmanager
def proxies(network: IPv4Network, sites: Iterable[Site], *, mtu: int = MTU) -> Iterator[list[subprocess.Popen[str]]]:
    """A proxy on each of the nodes, every one with a route to all others; `mtu` is the underlay's. Needs root."""
    everyone = list(sites)
    with compiled() as program, ExitStack() as started:
        yield [
            started.enter_context(proxy(program, network, site, [peer for peer in everyone if peer != site], mtu=mtu))
            for site in everyone
        ]


@contextmanager
def compiled() -> Iterator[Path]:
    """The proxy's program, while the block runs. Raises `NankeenError` where there is no C compiler or it fails."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "proxy")
        run(("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(program), str(_SOURCE)))
        yield program


@contextmanager
def proxy(
    program: Path, network: IPv4Network, site: Site, peers: Iterable[Site], *, port: int = PORT, mtu: int = MTU
) -> Iterator[subprocess.Popen[str]]:
    """A proxy at work: its device has the address and the route to the whole pod network that flannel gives it.

    `mtu` is the underlay's; the device's is less by the outer headers. The device goes when the proxy ends.
    """
    base, inner = str(site.subnet.network_address), str(mtu - OVERHEAD)
    routes = [f"{peer.subnet}={peer.address}" for peer in peers]
    command = (str(program), DEVICE, inner, base, str(site.address), str(port), *routes)
    with running(("ip", "netns", "exec", site.namespace, *command), ready="ready") as process:
        inside = ("ip", "-n", site.namespace)
        run((*inside, "address", "add", f"{base}/32", "dev", DEVICE))
        run((*inside, "link", "set", DEVICE, "mtu", inner, "up"))
        run((*inside, "route", "add", str(network), "dev", DEVICE))
        yield process
