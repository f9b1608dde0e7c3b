"""What it takes to predict a packet: from pod to pod across nodes over VXLAN, in a world of 100 nodes and 100 pods.

Seconds of the processor are counted, not of the clock, and the tables are prepared: a world is prepared once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface

from bench.row import Measure, Reach, Row
from nankeen.forwarding import Host, Packet, Port, Wire, World, echo_request, walk
from nankeen.forwarding.derived import completed
from nankeen.model.address import HardwareAddress, IPAddress, parse_address, parse_network
from nankeen.model.state import (
    Address,
    Bridge,
    Device,
    ForwardingEntry,
    Link,
    Neighbour,
    Object,
    Route,
    State,
    Sysctl,
    Veth,
    Vxlan,
)

_NODES = 100
_PACKETS = 2000


def _inside(node: int, place: int) -> IPAddress:
    return parse_address(f"10.244.{node}.{place}")


def _underlay(node: int) -> IPAddress:
    return parse_address(f"192.168.0.{node}")


def _mac(kind: int, node: int) -> HardwareAddress:
    return HardwareAddress(bytes([2, 0, 0, 0, kind, node]))


def _address(device: str, address: IPAddress, length: int) -> Address:
    return Address(device, ip_interface(f"{address}/{length}"))


def _node(number: int) -> Host:
    items: list[Object] = [
        Link("eth0", Device(""), 1500, _mac(1, number)),
        Link("cni0", Bridge(), 1450, _mac(2, number)),
        Link("flannel.1", Vxlan(1, "eth0", _underlay(number)), 1450, _mac(3, number)),
        Link("veth0", Veth(), 1450, _mac(4, number), master="cni0"),
        _address("eth0", _underlay(number), 24),
        _address("cni0", _inside(number, 1), 24),
        _address("flannel.1", _inside(number, 0), 32),
        Sysctl("net/ipv4/ip_forward", "1"),
    ]
    for other in set(range(1, _NODES + 1)) - {number}:
        vtep = _mac(3, other)
        items += [
            ForwardingEntry("flannel.1", vtep, _underlay(other)),
            Neighbour("flannel.1", _inside(other, 0), vtep),
            Route(parse_network(f"10.244.{other}.0/24"), "flannel.1", _inside(other, 0), onlink=True),
        ]
    return Host(f"node{number}", completed(State(items)))


def _pod(number: int) -> Host:
    items: list[Object] = [
        Link("eth0", Veth(), 1450, _mac(5, number)),
        _address("eth0", _inside(number, 5), 24),
        Route(parse_network("0.0.0.0/0"), "eth0", _inside(number, 1)),
    ]
    return Host(f"pod{number}", completed(State(items)))


def _world() -> World:
    numbers = range(1, _NODES + 1)
    switch = Wire(tuple(Port(f"node{number}", "eth0") for number in numbers))
    pairs = [Wire((Port(f"pod{number}", "eth0"), Port(f"node{number}", "veth0"))) for number in numbers]
    return World.of([build(number) for number in numbers for build in (_node, _pod)], [switch, *pairs])


def _packets() -> list[Packet]:
    chance = random.Random(1)  # noqa: S311  (to choose pods, not keys)
    pairs = (chance.sample(range(1, _NODES + 1), 2) for _ in range(_PACKETS))
    return [echo_request(_inside(source, 5), _inside(destination, 5)) for source, destination in pairs]


def _per_second(action: Callable[[], int]) -> float:
    """How many are done in a second of the processor's time."""
    began = time.process_time()
    return action() / (time.process_time() - began)


@contextmanager
def _prepare() -> Iterator[Measure]:
    world, packets = _world(), _packets()

    def predict() -> int:
        return sum(walk(world, packet).delivered for packet in packets)

    predict()  # the first time, each host's tables are prepared, and neighbours ask for each other
    yield lambda _: (_per_second(predict), _per_second(lambda: sum(len(walk(world, one).hops) for one in packets)))


ROWS = (
    Row(
        id="forward",
        what=f"packets predicted in a second, pod to pod over VXLAN, {_NODES} nodes",
        unit="packets/s",
        against="hops told of them",
        reach=Reach("≥", 10_000, "packets/s"),
        prepare=_prepare,
    ),
)
