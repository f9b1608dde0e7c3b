"""A pod's interface on a real kernel, seen with the tools an engineer would use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from nankeen.cni.error import CniError, Code
from nankeen.kernel import namespace as namespaces
from nankeen.model.errors import KernelError
from nankeen.model.state import Route
from nankeen.pods.attach import attach
from nankeen.pods.interface import PodInterface
from nankeen.pods.removal import detach
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import ping


def interface(number: int = 2, **changes: object) -> PodInterface:
    """The interface of the pod with addresses of that number."""
    wanted = PodInterface(
        name="eth0",
        host_name=f"vethc0ffee{number:02}",
        bridge="cni0",
        mtu=1450,
        addresses=(ip_interface(f"10.5.34.{number}/24"), ip_interface(f"fc00:5:0:60::{number}/64")),
        routes=(
            Route(ip_network("0.0.0.0/0"), "eth0", ip_address("10.5.34.1")),
            Route(ip_network("::/0"), "eth0", ip_address("fc00:5:0:60::1")),
        ),
    )
    return replace(wanted, **changes)  # type: ignore[arg-type]


def picture(pod: Net) -> str:
    """All there is to see in a namespace."""
    return pod.run("ip address show") + pod.run("ip route show") + pod.run("ip -6 route show")


def veths(node: Net) -> str:
    return node.run("ip -brief link show type veth")


def test_a_pod_has_its_addresses_and_its_way_out(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    assert "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450" in pod.run("ip link show eth0")
    assert "link/ether 0a:58:0a:05:22:02 " in pod.run("ip link show eth0")
    assert "inet 10.5.34.2/24 brd 10.5.34.255 scope global eth0" in pod.run("ip address show eth0")
    assert "inet6 fc00:5:0:60::2/64 scope global nodad" in pod.run("ip address show eth0")
    assert "inet 127.0.0.1/8 scope host lo" in pod.run("ip address show up dev lo")
    assert pod.run("ip route show default") == "default via 10.5.34.1 dev eth0 \n"
    assert pod.run("ip -6 route show default") == "default via fc00:5:0:60::1 dev eth0 metric 1024 pref medium\n"
    assert "state UP" in node.run("ip link show vethc0ffee02")


def test_an_ipv6_address_can_be_used_at_once(node: Net, pod: Net) -> None:  # noqa: ARG001  (the node has the bridge)
    attach(interface(), pod.namespace)
    assert pod.run("ip -6 address show dev eth0 scope global tentative") == ""
    assert "fc00:5:0:60::2/64 scope global nodad" in pod.run("ip -6 address show dev eth0")


def test_the_nodes_end_is_a_port_of_the_bridge_that_takes_no_router_from_the_pod(node: Net, pod: Net) -> None:
    attach(interface(hairpin=True), pod.namespace)
    details = node.run("ip -details link show vethc0ffee02")
    assert "mtu 1450" in details
    assert "master cni0" in details
    assert "hairpin on" in details
    assert node.run("sysctl -n net.ipv6.conf.vethc0ffee02.accept_ra") == "0\n"
    assert pod.run("sysctl -n net.ipv6.conf.eth0.accept_ra") == "0\n"


def test_the_gateway_keeps_its_hardware_address_when_pods_come(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    assert "link/ether 0a:58:0a:05:22:01 " in node.run("ip link show cni0")


@pytest.mark.parametrize("destination", ["10.5.34.3", "fc00:5:0:60::3", "10.5.34.1", "fc00:5:0:60::1"])
@pytest.mark.usefixtures("node")
def test_two_pods_and_their_gateway_reach_one_another(make_net: Callable[[], Net], destination: str) -> None:
    first, second = make_net(), make_net()
    attach(interface(2), first.namespace)
    attach(interface(3), second.namespace)
    assert ping(first, destination)


@pytest.mark.usefixtures("node")
def test_a_pod_of_one_family_has_only_that(pod: Net) -> None:
    wanted = interface()
    attach(replace(wanted, addresses=wanted.addresses[:1], routes=wanted.routes[:1]), pod.namespace)
    assert pod.run("ip -6 address show dev eth0 scope global") == ""
    assert ping(pod, "10.5.34.1")


def test_attaching_again_changes_nothing(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    before = picture(pod), veths(node)
    attach(interface(), pod.namespace)
    assert (picture(pod), veths(node)) == before


@pytest.mark.parametrize(
    "damage",
    [
        "ip link set eth0 down",
        "ip address del 10.5.34.2/24 dev eth0",
        "ip route del default",
        "ip link set eth0 mtu 1300",
        "ip link set eth0 address 02:00:00:00:00:99",
        "ip address add 10.5.34.99/24 dev eth0",
    ],
)
@pytest.mark.usefixtures("node")
def test_attaching_again_repairs_what_was_damaged(pod: Net, damage: str) -> None:
    attach(interface(), pod.namespace)
    before = pod.observe()
    pod.run(damage)
    assert pod.observe() != before
    attach(interface(), pod.namespace)
    assert pod.observe() == before


def test_attaching_again_puts_the_nodes_end_back_on_the_bridge(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    before = veths(node)
    node.run("ip link set vethc0ffee02 nomaster down")
    attach(interface(), pod.namespace)
    assert veths(node) == before
    assert "master cni0" in node.run("ip link show vethc0ffee02")


def test_an_interface_that_is_not_ours_is_left_alone(node: Net, pod: Net) -> None:
    pod.run("ip link add eth0 type bridge")
    before = picture(pod)
    with pytest.raises(CniError) as caught:
        attach(interface(), pod.namespace)
    assert caught.value.code is Code.INTERFACE_TAKEN
    assert picture(pod) == before
    assert veths(node) == ""


def test_a_device_on_the_node_that_is_not_this_pods_is_left_alone(node: Net, pod: Net) -> None:
    node.run("ip link add vethc0ffee02 type bridge")
    with pytest.raises(CniError) as caught:
        attach(interface(), pod.namespace)
    assert caught.value.code is Code.INTERFACE_TAKEN
    assert "vethc0ffee02" in node.run("ip -brief link show type bridge")
    assert "eth0" not in pod.run("ip link")


def test_a_half_made_interface_is_removed_whole(node: Net, pod: Net) -> None:
    unreachable = Route(ip_network("0.0.0.0/0"), "eth0", ip_address("192.0.2.1"))
    with pytest.raises(KernelError):
        attach(interface(routes=(unreachable,)), pod.namespace)
    assert veths(node) == ""
    assert "eth0" not in pod.run("ip link")


def test_a_failed_repair_leaves_the_pod_its_interface(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    unreachable = Route(ip_network("198.51.100.0/24"), "eth0", ip_address("192.0.2.1"))
    with pytest.raises(KernelError):
        attach(interface(routes=(unreachable,)), pod.namespace)
    assert "vethc0ffee02" in veths(node)


@pytest.mark.usefixtures("node")
def test_without_the_bridge_the_runtime_is_told_to_try_again(pod: Net) -> None:
    with pytest.raises(CniError) as caught:
        attach(interface(bridge="cni9"), pod.namespace)
    assert caught.value.code is Code.TRY_AGAIN_LATER


def test_detaching_removes_the_pair_and_detaching_again_is_no_error(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    for _ in range(2):
        detach("vethc0ffee02", "eth0", pod.namespace)
        assert veths(node) == ""
        assert "eth0" not in pod.run("ip link")


def test_detaching_needs_no_namespace(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    detach("vethc0ffee02", "eth0", None)
    assert veths(node) == ""


def test_a_pair_that_flannels_plugins_made_is_found_from_inside_the_pod(node: Net, pod: Net) -> None:
    node.run(f"ip link add veth01234567 type veth peer name eth0 netns {pod.name}")
    detach("vethc0ffee02", "eth0", pod.namespace)
    assert veths(node) == ""


@pytest.mark.usefixtures("node")
def test_detaching_removes_nothing_that_is_no_veth(pod: Net) -> None:
    pod.run("ip link add eth0 type bridge")
    detach("vethc0ffee02", "eth0", pod.namespace)
    assert "eth0" in pod.run("ip link")


def test_detaching_removes_nothing_of_the_nodes_own(node: Net) -> None:
    node.run("ip link add eth0 type veth peer name uplink")
    detach("vethc0ffee02", "eth0", node.namespace)
    assert "eth0" in veths(node)


def test_an_interface_outlives_the_name_of_its_namespace(node: Net, pod: Net) -> None:
    attach(interface(), pod.namespace)
    namespaces.remove(pod.name)
    assert "vethc0ffee02" in veths(node)
    detach("vethc0ffee02", "eth0", None)
    assert veths(node) == ""
