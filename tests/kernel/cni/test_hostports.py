"""Host ports as a runtime asks for them, with real packets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from nankeen.kernel.program import find
from nankeen.model.address import Family
from nankeen.model.errors import KernelError
from nankeen.pods.hostports import HostPorts
from nankeen.pods.network import PodNetwork
from tests.kernel.cni.runtime import Config, Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.traffic import (
    NODE,
    OUTSIDE,
    connect,
    connect_outside,
    exchange,
    open_socket,
    refused,
    send_frame,
    station_of,
)

pytestmark = [
    pytest.mark.parametrize("contents", ["python"], indirect=True),  # which twin asks makes no difference here
    pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed"),
]
BOTH = pytest.mark.parametrize("family", list(Family), ids=str)
ANY = str(IPv4Address(0))
GATEWAY = {Family.IPV4: "10.5.34.1", Family.IPV6: "fc00:5:0:60::1"}


@pytest.fixture
def outside(node: Net, make_net: Callable[[], Net]) -> Net:
    outside = make_net()
    connect_outside(node, outside)
    return outside


def ports(*mappings: Config) -> Config:
    """What a configuration has for these; containerd writes the keys with capitals."""
    return {"runtimeConfig": {"portMappings": list(mappings)}}


def tcp(host: int, container: int, **more: str) -> Config:
    return {"hostPort": host, "containerPort": container, "protocol": "tcp", **more}


def udp(host: int, container: int, **more: str) -> Config:
    return {"hostPort": host, "containerPort": container, "protocol": "udp", **more}


def address_of(result: Any, family: Family) -> str:  # noqa: ANN401  (a result)
    found = [item["address"].split("/")[0] for item in result["ips"]]
    return next(str(text) for text in found if ip_address(text).version == family.value)


@BOTH
async def test_a_host_port_leads_to_the_pod_which_sees_who_asks(
    runtime: Runtime, outside: Net, pod: Net, family: Family
) -> None:
    await runtime.add(pod, ports(tcp(8080, 80), udp(8080, 53)))
    assert connect(outside, NODE[family], 8080, pod, 80) == OUTSIDE[family]
    assert exchange(outside, NODE[family], 8080, pod, 53) == OUTSIDE[family]
    assert refused(outside, NODE[family], 8081)
    await runtime.delete(pod)
    assert refused(outside, NODE[family], 8080)


@BOTH
async def test_containerds_spelling_is_understood(runtime: Runtime, outside: Net, pod: Net, family: Family) -> None:
    mapping = {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}
    await runtime.add(pod, {"runtimeConfig": {"portMappings": [mapping]}})
    assert connect(outside, NODE[family], 8080, pod, 80) == OUTSIDE[family]


@BOTH
async def test_a_port_of_one_address_is_no_port_of_another(
    runtime: Runtime, node: Net, outside: Net, make_net: Callable[[], Net], family: Family
) -> None:
    """And another pod may have it there."""
    other = {Family.IPV4: "192.168.50.2", Family.IPV6: "fd50::2"}[family]
    node.run(f"ip address add {other}/{24 if family is Family.IPV4 else 64} dev eth0")
    first, second = make_net(), make_net()
    await runtime.add(first, ports(tcp(8080, 80, hostIP=NODE[family])))
    assert refused(outside, other, 8080)
    await runtime.add(second, ports(tcp(8080, 80, hostIP=other)))
    assert connect(outside, NODE[family], 8080, first, 80) == OUTSIDE[family]
    assert connect(outside, other, 8080, second, 80) == OUTSIDE[family]


@BOTH
@pytest.mark.usefixtures("outside")
async def test_the_node_reaches_the_port_at_its_own_addresses(
    runtime: Runtime, node: Net, pod: Net, family: Family
) -> None:
    await runtime.add(pod, ports(tcp(8080, 80), udp(8080, 53)))
    assert connect(node, NODE[family], 8080, pod, 80) == NODE[family]
    assert exchange(node, GATEWAY[family], 8080, pod, 53) == GATEWAY[family]


async def test_the_node_reaches_the_port_by_127_0_0_1(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod, ports(tcp(8080, 80), udp(8080, 53), tcp(8081, 80, hostIP="127.0.0.1")))
    assert connect(node, "127.0.0.1", 8080, pod, 80) == "10.5.34.1"
    assert exchange(node, "127.0.0.1", 8080, pod, 53) == "10.5.34.1"
    assert connect(node, "127.0.0.1", 8081, pod, 80) == "10.5.34.1"


async def test_who_asks_at_the_other_localhost_is_refused_at_once(runtime: Runtime, node: Net, pod: Net) -> None:
    """So a program that tries all addresses of the name goes on to 127.0.0.1."""
    await runtime.add(pod, ports(tcp(8080, 80)))
    assert refused(node, "::1", 8080)


@BOTH
async def test_pods_reach_the_port_by_the_node_also_the_pod_that_has_it(
    runtime: Runtime, outside: Net, make_net: Callable[[], Net], family: Family
) -> None:
    """They would answer each other by the bridge, and be taken for strangers: so they are asked by the node."""
    pod, other = make_net(), make_net()
    await runtime.add(pod, ports(tcp(8080, 80), udp(8080, 53)))
    await runtime.add(other)
    for asking in (pod, other):
        assert connect(asking, NODE[family], 8080, pod, 80) == GATEWAY[family]
        assert exchange(asking, GATEWAY[family], 8080, pod, 53) == GATEWAY[family]
    assert connect(outside, NODE[family], 8080, pod, 80) == OUTSIDE[family]  # who is not near stays who he is


@BOTH
async def test_packets_that_the_node_only_forwards_are_nobodys_host_port(
    runtime: Runtime, node: Net, outside: Net, make_net: Callable[[], Net], family: Family
) -> None:
    """CVE-2025-67499: a port of the node's own addresses, and of no other host's."""
    pod, other = make_net(), make_net()
    await runtime.add(pod, ports(tcp(8080, 80), udp(8080, 53)))
    theirs = address_of(await runtime.add(other), family)
    assert connect(outside, theirs, 8080, other, 8080) == OUTSIDE[family]
    assert connect(other, OUTSIDE[family], 8080, outside, 8080) == theirs
    assert exchange(other, OUTSIDE[family], 8080, outside, 8080) == theirs
    assert exchange(node, OUTSIDE[family], 8080, outside, 8080) == NODE[family]


@pytest.mark.parametrize("address", [{}, {"hostIP": "127.0.0.1"}])
@pytest.mark.parametrize("source, to", [("192.168.50.9", "127.0.0.1"), ("127.0.0.1", "192.168.50.1")])
async def test_nobody_on_the_wire_or_in_a_pod_is_localhost(
    runtime: Runtime, node: Net, outside: Net, make_net: Callable[[], Net], address: Config, source: str, to: str
) -> None:
    """CVE-2020-8558. What comes after the martians is what is received first, and they are counted."""
    pod, other = make_net(), make_net()
    await runtime.add(pod, ports(udp(5353, 53, **address)))
    await runtime.add(other)
    with (
        closing(open_socket(pod, Family.IPV4, socket.SOCK_DGRAM, "", 53)) as mapped,
        closing(open_socket(node, Family.IPV4, socket.SOCK_DGRAM, "127.0.0.1", 9000)) as own,
        closing(open_socket(node, Family.IPV4, socket.SOCK_DGRAM)) as asking,
    ):
        for sender, device in ((outside, "eth0"), (other, "cni0")):
            for port in (5353, 9000):
                send_frame(sender, "eth0", station_of(node, device), source, to, port)
        for port, receiver in ((5353, mapped), (9000, own)):
            asking.sendto(b"honest", ("127.0.0.1", port))
            assert receiver.recv(64) == b"honest"
    counted = node.run("nft list chain inet nankeen-ports martians")
    assert "packets 4 " in counted


@pytest.mark.parametrize(
    "first, second",
    [
        (tcp(8080, 80), tcp(8080, 81)),
        (tcp(8080, 80), tcp(8080, 80, hostIP="192.168.50.1")),
        (tcp(8080, 80, hostIP="fd50::1"), tcp(8080, 80)),
        (tcp(8080, 80, hostIP=ANY), tcp(8080, 80, hostIP="127.0.0.1")),
        (tcp(8080, 80, hostIP="::"), tcp(8080, 80)),
    ],
)
async def test_a_port_that_another_pod_has_is_refused_and_nothing_is_left(
    runtime: Runtime, node: Net, make_net: Callable[[], Net], first: Config, second: Config
) -> None:
    pod, other = make_net(), make_net()
    await runtime.add(pod, ports(first))
    before = (veths(node), runtime.reserved(), node.run("nft list table inet nankeen-ports"), files(runtime))
    code, told = await runtime.refusal("ADD", other, ports(tcp(1, 1), second))
    assert code == 104
    assert "tcp port 8080" in told
    assert f"is taken by container {pod.name}" in told
    assert (veths(node), runtime.reserved(), node.run("nft list table inet nankeen-ports"), files(runtime)) == before
    await runtime.delete(other)
    await runtime.delete(pod)
    await runtime.add(other, ports(second))


@pytest.mark.parametrize(
    "first, second",
    [
        (tcp(8080, 80), udp(8080, 80)),
        (tcp(8080, 80, hostIP=ANY), tcp(8080, 80, hostIP="::")),
        (tcp(8080, 80, hostIP="127.0.0.1"), tcp(8080, 80, hostIP="192.168.50.1")),
        (tcp(8080, 80), tcp(8081, 80)),
    ],
)
async def test_what_no_packet_could_confuse_is_allowed(
    runtime: Runtime, make_net: Callable[[], Net], first: Config, second: Config
) -> None:
    await runtime.add(make_net(), ports(first))
    await runtime.add(make_net(), ports(second))


async def test_a_pod_that_is_gone_holds_no_port(
    runtime: Runtime, node: Net, outside: Net, make_net: Callable[[], Net]
) -> None:
    """Its namespace went, and no DEL came."""
    pod, other = make_net(), make_net()
    await runtime.add(pod, ports(tcp(8080, 80)))
    node.run(f"ip link del {veths(node)[-1]}")
    await runtime.add(other, ports(tcp(8080, 81)))
    assert connect(outside, "192.168.50.1", 8080, other, 81) == "192.168.50.9"
    await runtime.delete(pod)  # late, and too late to take anything
    assert connect(outside, "192.168.50.1", 8080, other, 81) == "192.168.50.9"


@pytest.mark.parametrize("mappings", [[], [tcp(9090, 90)]])
async def test_a_pod_that_gets_an_address_again_gets_no_ports_with_it(
    runtime: Runtime, node: Net, make_net: Callable[[], Net], mappings: list[Config]
) -> None:
    """Nobody said that the pod before it has ended."""
    await runtime.add(make_net(), ports(tcp(8080, 80)))
    for path in runtime.addresses.iterdir():
        path.unlink()
    await runtime.add(make_net(), ports(*mappings), CNI_ARGS="IP=10.5.34.2")
    assert elements(node) == ({"tcp . 9090 : 10.5.34.2 . 90"} if mappings else set())


async def test_the_same_again_changes_nothing_and_other_ports_take_the_place_of_the_first(
    runtime: Runtime, node: Net, pod: Net
) -> None:
    for _ in range(2):
        await runtime.add(pod, ports(tcp(8080, 80), tcp(8081, 81)))
        assert elements(node) == {"tcp . 8080 : 10.5.34.2 . 80", "tcp . 8081 : 10.5.34.2 . 81"}
    await runtime.add(pod, ports(tcp(8080, 90), tcp(8082, 82)))
    assert elements(node) == {"tcp . 8080 : 10.5.34.2 . 90", "tcp . 8082 : 10.5.34.2 . 82"}
    await runtime.add(pod)
    assert (elements(node), files(runtime)) == (set(), [])


@BOTH
async def test_a_udp_client_that_goes_on_sending_reaches_who_has_the_port_now(
    runtime: Runtime, outside: Net, make_net: Callable[[], Net], family: Family
) -> None:
    first, second = make_net(), make_net()
    with closing(open_socket(outside, family, socket.SOCK_DGRAM, "", 4242)) as client:
        client.connect((NODE[family], 5353))
        client.send(b"too early")
        with pytest.raises(ConnectionRefusedError):
            client.recv(64)
        for pod in (first, second):
            await runtime.add(pod, ports(udp(5353, 53)))
            with closing(open_socket(pod, family, socket.SOCK_DGRAM, "", 53)) as server:
                client.send(b"question")
                data, peer = server.recvfrom(64)
                assert (data, peer[:2]) == (b"question", (OUTSIDE[family], 4242))
            await runtime.delete(pod)
        client.send(b"too late")
        with pytest.raises(ConnectionRefusedError):
            client.recv(64)


async def test_flows_that_only_pass_the_node_are_left_alone(
    runtime: Runtime, node: Net, outside: Net, make_net: Callable[[], Net]
) -> None:
    """To the same port of another host: behind masquerade, a flow that is forgotten is a flow that is lost."""
    pod, other = make_net(), make_net()
    await runtime.add(other)
    node.run("nft add table ip a-nat")
    node.run("nft add chain ip a-nat postrouting { type nat hook postrouting priority srcnat ; }")
    node.run("nft add rule ip a-nat postrouting oifname eth0 masquerade fully-random")
    with (
        closing(open_socket(outside, Family.IPV4, socket.SOCK_DGRAM, "", 5353)) as server,
        closing(open_socket(other, Family.IPV4, socket.SOCK_DGRAM)) as client,
    ):
        client.sendto(b"one", (OUTSIDE[Family.IPV4], 5353))
        seen = server.recvfrom(64)[1]
        await runtime.add(pod, ports(udp(5353, 53)))
        await runtime.delete(pod)
        client.sendto(b"two", (OUTSIDE[Family.IPV4], 5353))
        assert server.recvfrom(64) == (b"two", seen)


async def test_sctp_has_its_elements(runtime: Runtime, node: Net, pod: Net) -> None:
    """As long as this kernel has no such sockets, its packets are not sent."""
    await runtime.add(pod, ports({"hostPort": 9000, "containerPort": 90, "protocol": "SCTP"}))
    assert elements(node) == {"sctp . 9000 : 10.5.34.2 . 90"}


async def test_services_of_other_tools_keep_their_ports(
    runtime: Runtime, node: Net, outside: Net, make_net: Callable[[], Net]
) -> None:
    """CVE-2019-9946: a service's DNAT, as kube-proxy makes it, comes first, also where it is made later."""
    pod, service = make_net(), make_net()
    await runtime.add(pod, ports(tcp(8080, 80), tcp(8081, 80)))
    theirs = address_of(await runtime.add(service), Family.IPV4)
    node.run("nft add table ip a-proxy")
    node.run("nft add chain ip a-proxy prerouting { type nat hook prerouting priority dstnat ; }")
    node.run(f"nft add rule ip a-proxy prerouting tcp dport 8080 dnat to {theirs}:90")
    node.run(f"nft add rule ip a-proxy prerouting ip daddr 10.96.0.1 tcp dport 8081 dnat to {theirs}:90")
    outside.run("ip route add 10.96.0.0/12 via 192.168.50.1")
    assert connect(outside, "192.168.50.1", 8080, service, 90) == "192.168.50.9"
    assert connect(outside, "10.96.0.1", 8081, service, 90) == "192.168.50.9"
    assert connect(outside, "192.168.50.1", 8081, pod, 80) == "192.168.50.9"


DAMAGES = [
    "nft flush ruleset",
    "nft delete table inet nankeen-ports",
    "nft flush chain inet nankeen-ports ports",
    "nft insert rule inet nankeen-ports ports accept",
    "nft flush map inet nankeen-ports any4",
    "nft delete element inet nankeen-ports any4 { tcp . 8080 }",
    "sysctl -qw net.ipv4.conf.cni0.route_localnet=0",
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_check_names_what_others_took_and_it_is_put_back(
    runtime: Runtime, node: Net, outside: Net, pod: Net, damage: str
) -> None:
    config = ports(tcp(8080, 80))
    result = await runtime.add(pod, config)
    await runtime.succeed("CHECK", pod, {"prevResult": result, **config})
    node.run(damage)
    code, told = await runtime.refusal("CHECK", pod, {"prevResult": result, **config})
    assert code == 103
    assert any(text in told for text in ("is not as it should be", "is not mapped", "route_localnet is not 1"))
    assert len(runtime.plugin.host_ports.converge()) == 1
    assert runtime.plugin.host_ports.converge() == []
    await runtime.succeed("CHECK", pod, {"prevResult": result, **config})
    assert connect(outside, "192.168.50.1", 8080, pod, 80) == "192.168.50.9"
    assert connect(node, "127.0.0.1", 8080, pod, 80) == "10.5.34.1"


async def test_the_first_port_after_foreign_hands_brings_all_back(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    await runtime.add(make_net(), ports(tcp(8080, 80)))
    node.run("nft flush ruleset")
    await runtime.add(make_net(), ports(tcp(8081, 80)))
    assert elements(node) == {"tcp . 8080 : 10.5.34.2 . 80", "tcp . 8081 : 10.5.34.3 . 80"}


async def test_a_port_is_never_gone_while_the_table_is_written_anew(
    runtime: Runtime, node: Net, outside: Net, pod: Net
) -> None:
    """An open conversation goes on, too."""
    await runtime.add(pod, ports(tcp(8080, 80)))
    with (
        closing(open_socket(pod, Family.IPV4, socket.SOCK_STREAM, "", 80)) as listener,
        closing(open_socket(outside, Family.IPV4, socket.SOCK_STREAM)) as client,
    ):
        listener.listen()
        client.connect(("192.168.50.1", 8080))
        with listener.accept()[0] as connection:
            node.run("nft insert rule inet nankeen-ports ports accept")
            assert runtime.plugin.host_ports.converge() == ["~ table inet nankeen-ports"]
            client.sendall(b"still here")
            assert connection.recv(64) == b"still here"


async def test_a_garbage_collection_takes_ports_of_pods_that_are_no_more(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    pod, gone, other = make_net(), make_net(), make_net()
    await runtime.add(pod, ports(tcp(8080, 80)))
    await runtime.add(gone, ports(tcp(8081, 80)))
    await runtime.add(other, {"name": "another", **ports(tcp(8082, 80))})
    valid = [{"containerID": pod.name, "ifname": "eth0"}]
    await runtime.succeed("GC", None, {"cni.dev/valid-attachments": valid})
    assert elements(node) == {"tcp . 8080 : 10.5.34.2 . 80", "tcp . 8082 : 10.5.34.2 . 80"}
    assert len(files(runtime)) == 2


async def test_an_agent_that_starts_again_knows_who_has_which_port(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    pod, other = make_net(), make_net()
    await runtime.add(pod, ports(tcp(8080, 80, hostIP="127.0.0.1"), udp(8080, 80)))
    before = node.run("nft --handle list table inet nankeen-ports")
    runtime.plugin.host_ports.close()
    runtime.plugin.host_ports = HostPorts(runtime.addresses.parents[1] / "ports")
    assert runtime.plugin.host_ports.converge() == []
    assert node.run("nft --handle list table inet nankeen-ports") == before
    assert (await runtime.refusal("ADD", other, ports(udp(8080, 80))))[0] == 104
    await runtime.delete(pod)
    assert (elements(node), files(runtime)) == (set(), [])


async def test_a_pod_without_ports_starts_no_program_and_makes_no_table(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod)
    assert runtime.plugin.host_ports.converge() == []
    await runtime.delete(pod)
    assert "nankeen-ports" not in node.run("nft list ruleset")


async def test_the_bridge_is_open_for_localhost_as_long_as_a_port_needs_it(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    first, second, third = make_net(), make_net(), make_net()
    opened = []
    await runtime.add(first, ports(tcp(8080, 80, hostIP="192.168.50.1"), tcp(8080, 80, hostIP="::")))
    opened.append(node.run("sysctl -n net.ipv4.conf.cni0.route_localnet"))
    await runtime.add(second, ports(tcp(8081, 80)))
    await runtime.add(third, ports(tcp(8082, 80)))
    await runtime.delete(second)
    opened.append(node.run("sysctl -n net.ipv4.conf.cni0.route_localnet"))
    await runtime.delete(third)
    opened.append(node.run("sysctl -n net.ipv4.conf.cni0.route_localnet"))
    assert opened == ["0\n", "1\n", "0\n"]


async def test_a_port_that_the_kernel_refuses_leaves_no_pod(
    runtime: Runtime, node: Net, pod: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nankeen.kernel.written.run", refuse)
    assert await runtime.refusal("ADD", pod, ports(tcp(8080, 80))) == (100, "nft: refused: too bad")
    assert (veths(node), runtime.reserved(), files(runtime)) == ([], set(), [])
    monkeypatch.undo()
    await runtime.add(pod, ports(tcp(8080, 80)))


async def test_a_port_without_an_address_of_its_family_is_refused(runtime: Runtime, pod: Net) -> None:
    runtime.plugin.ready(PodNetwork((ip_network("10.5.34.0/24"),), 1450))
    code, told = await runtime.refusal("ADD", pod, ports(tcp(8080, 80, hostIP="fd50::1")))
    assert (code, told) == (
        7,
        "portMappings: tcp port 8080 of fd50::1 has nowhere to lead: the pod has no address of that family",
    )
    assert runtime.reserved() == set()


async def test_flannels_own_configuration_maps_them_too(
    runtime: Runtime, outside: Net, pod: Net, tmp_path: Path
) -> None:
    """Where its list says that flannel's plugin has the capability."""
    lines = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    (tmp_path / "subnet.env").write_text(lines)
    places = {"subnetFile": str(tmp_path / "subnet.env"), "dataDir": str(tmp_path / "flannel")}
    config = {"type": "flannel", "delegate": {"isDefaultGateway": True}, **places, **ports(tcp(8080, 80))}
    await runtime.add(pod, config)
    assert connect(outside, "192.168.50.1", 8080, pod, 80) == "192.168.50.9"
    await runtime.delete(pod, {"type": "flannel", **places})
    assert refused(outside, "192.168.50.1", 8080)


def refuse(*_: object, **__: object) -> str:
    raise KernelError("refused: too bad", where="nft")


def files(runtime: Runtime) -> list[str]:
    directory = runtime.addresses.parents[1] / "ports"
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def elements(node: Net) -> set[str]:
    """What the maps of IPv4 hold."""
    document = json.loads(node.run("nft --json list table inet nankeen-ports"))
    maps = [item["map"] for item in document["nftables"] if "map" in item and item["map"]["name"].endswith("4")]
    return {
        " : ".join(" . ".join(map(str, side["concat"])) for side in pair)
        for found in maps
        for pair in found.get("elem", [])
    }
