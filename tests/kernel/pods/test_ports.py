"""Pods' ports find their way back into their bridges; what is somebody else's stays where it is."""

from __future__ import annotations

import pytest

from nankeen.cni.request import Attachment
from nankeen.kernel.netlink import link
from nankeen.model.address import HardwareAddress
from nankeen.pods.interface import host_hardware_address, host_name
from nankeen.pods.ports import Port, parse_alias, replug
from tests.kernel.conftest import Net

NAME = host_name("cbr0", Attachment("container1", "eth0"))
ADDRESS = host_hardware_address("cbr0", NAME)


def make(net: Net, name: str = NAME, *, alias: Port, address: HardwareAddress = ADDRESS, state: str = "up") -> None:
    """A port as an ADD leaves it, pulled out of its bridge."""
    net.run(f"ip link add {name} address {address} type veth")
    index = net.socket.index(name)
    assert index is not None
    net.socket.request(link.set_alias(index, alias.alias), name)
    net.run(f"ip link set {name} {state}")


@pytest.mark.parametrize("bridge", ["cni0", "br-hand"])
@pytest.mark.parametrize("hairpin, isolated", [(True, False), (False, True), (True, True), (False, False)])
def test_a_port_that_was_pulled_out_is_put_back_as_it_was(
    net: Net, bridge: str, *, hairpin: bool, isolated: bool
) -> None:
    for name in ("cni0", "br-hand"):
        net.run(f"ip link add {name} type bridge")
    make(net, alias=Port("cbr0", bridge, hairpin, isolated))
    assert replug(net.socket, net.observe()) == [NAME]
    assert f"{NAME}@" in net.run(f"ip link show master {bridge}")
    details = net.run(f"ip -details link show {NAME}")
    assert ("hairpin on" in details, "isolated on" in details) == (hairpin, isolated)
    assert replug(net.socket, net.observe()) == []


def test_what_is_not_ours_stays_where_it_is(net: Net) -> None:
    net.run("ip link add cni0 type bridge")
    net.run("ip link add br9 type bridge")
    port = Port("cbr0", "cni0", hairpin=True, isolated=False)
    make(net, "veth-long-name", alias=port)
    make(net, "veth00000001", alias=port)  # another's address, though it says so
    make(net, "veth00000002", alias=port, address=host_hardware_address("cbr0", "veth00000002"), state="down")
    make(net, "veth00000003", alias=port, address=host_hardware_address("cbr0", "veth00000003"))
    net.run("ip link set veth00000003 master br9")
    make(net, "veth00000004", alias=Port("cbr0", "gone", hairpin=True, isolated=False))
    net.run("ip link add veth00000005 type veth")
    net.run("ip link set veth00000005 up")
    assert replug(net.socket, net.observe()) == []
    assert net.run("ip link show master cni0") == ""


@pytest.mark.parametrize(
    "port", [Port("cbr0", "cni0", hairpin=True, isolated=False), Port("a.b-c_d", "br.0", hairpin=False, isolated=True)]
)
def test_an_alias_tells_its_port(port: Port) -> None:
    assert parse_alias(port.alias) == port


@pytest.mark.parametrize(
    "text", ["", "nankeen", "uplink", "nankeen a b", "nankeen a on b c", "nankeen a on b isolated hairpin"]
)
def test_another_alias_tells_nothing(text: str) -> None:
    assert parse_alias(text) is None
