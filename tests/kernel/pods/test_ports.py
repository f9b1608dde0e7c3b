"""Pods' ports find their way back into the bridge; what is somebody else's stays where it is."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from nankeen.cni.ranges import whole
from nankeen.pods.addresses import AddressStore, Attachment
from nankeen.pods.interface import host_name
from nankeen.pods.ports import ports, replug

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

POD = Attachment("container1", "eth0")


async def stored(directory: Path) -> str:
    """The node's end of a pod that holds an address."""
    await AddressStore(directory / "cbr0").reserve(POD, whole([IPv4Network("10.244.1.0/24")]))
    return host_name("cbr0", POD)


async def test_a_port_that_was_pulled_out_is_put_back_and_others_are_left(net: Net, tmp_path: Path) -> None:
    name = await stored(tmp_path)
    net.run("ip link add cni0 type bridge")
    for port in (name, "vethother"):
        net.run(f"ip link add {port} type veth")
        net.run(f"ip link set {port} up")
    assert replug(net.socket, net.observe(), tmp_path) == [name]
    assert f"{name}@" in net.run("ip link show master cni0")
    assert "vethother" not in net.run("ip link show master cni0")
    assert "hairpin on" in net.run(f"ip -details link show {name}")
    assert replug(net.socket, net.observe(), tmp_path) == []


async def test_a_port_that_is_being_made_or_is_in_another_bridge_stays(net: Net, tmp_path: Path) -> None:
    name = await stored(tmp_path)
    net.run("ip link add cni0 type bridge")
    net.run("ip link add br9 type bridge")
    net.run(f"ip link add {name} type veth")
    assert replug(net.socket, net.observe(), tmp_path) == []
    net.run(f"ip link set {name} master br9 up")
    assert replug(net.socket, net.observe(), tmp_path) == []


def test_without_any_pod_there_are_no_ports(tmp_path: Path) -> None:
    assert ports(tmp_path / "none") == frozenset()
    (tmp_path / "file").touch()
    assert ports(tmp_path) == frozenset()
