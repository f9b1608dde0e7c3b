"""What a configuration may ask for besides: the options of bridge and host-local, and requests of the runtime."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from nankeen.kernel.namespace import entered
from nankeen.kernel.program import find
from nankeen.pods.network import PodNetwork
from nankeen.pods.ports import replug
from tests.kernel.cni.runtime import Config, Runtime, veths
from tests.kernel.conftest import Net
from tests.kernel.pods.conftest import ping

pytestmark = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""
NFT = pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed")


def by_hand(*ranges: Config, **ipam: object) -> Config:
    """A bridge of its own with ranges given by hand, one set each."""
    return {"bridge": "br-hand", "ipam": {"type": "host-local", "ranges": [[item] for item in ranges], **ipam}}


def addresses(result: Any) -> list[str]:  # noqa: ANN401
    return [item["address"] for item in result["ips"]]


@pytest.mark.parametrize(
    "config, args",
    [
        ({"runtimeConfig": {"mac": "02:00:00:00:00:07"}, "args": {"cni": {"mac": "02:00:00:00:00:08"}}}, ""),
        ({"args": {"cni": {"mac": "02:00:00:00:00:07"}}}, "MAC=02:00:00:00:00:09"),
        ({}, "IgnoreUnknown=1;MAC=02:00:00:00:00:07"),
        ({"RuntimeConfig": {"MAC": "02:00:00:00:00:07"}}, ""),
    ],
)
async def test_a_hardware_address_can_be_asked_for(runtime: Runtime, pod: Net, config: Config, args: str) -> None:
    result = await runtime.add(pod, config, CNI_ARGS=args)
    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:07"
    assert "link/ether 02:00:00:00:00:07 " in pod.run("ip link show eth0")
    await runtime.succeed("CHECK", pod, {"prevResult": result})


@pytest.mark.parametrize(
    "config, args",
    [
        ({"runtimeConfig": {"ips": ["10.5.34.77/24", "fc00:5:0:60::77"]}}, ""),
        ({"args": {"cni": {"ips": ["10.5.34.77", "fc00:5:0:60::77"]}}}, ""),
        ({"args": {"cni": {"ips": ["fc00:5:0:60::77"]}}}, "IP=10.5.34.77"),
    ],
)
async def test_addresses_can_be_asked_for(runtime: Runtime, pod: Net, config: Config, args: str) -> None:
    for _ in range(2):  # and asked for again
        result = await runtime.add(pod, config, CNI_ARGS=args)
        assert addresses(result) == ["10.5.34.77/24", "fc00:5:0:60::77/64"]
    assert runtime.reserved() == {"10.5.34.77", "fc00:5:0:60::77"}


@pytest.mark.parametrize(
    "asked, code, told",
    [
        ("10.5.34.9", 101, "requested IP address 10.5.34.9 is not available in range set 10.5.34.1-10.5.34.254"),
        ("10.5.34.1", 7, "requested IP 10.5.34.1 is subnet's gateway"),
        ("192.0.2.1", 7, "failed to allocate all requested IPs: 192.0.2.1"),
        ("10.5.34.10,10.5.34.11", 7, "failed to allocate all requested IPs: 10.5.34.11"),
        ("10.5.34.256", 7, "is not an IP address"),
    ],
)
async def test_an_address_that_is_not_to_be_had_is_refused(
    runtime: Runtime, make_net: Callable[[], Net], asked: str, code: int, told: str
) -> None:
    first, second = make_net(), make_net()
    await runtime.add(first, CNI_ARGS="IP=10.5.34.9")
    refused, text = await runtime.refusal("ADD", second, CNI_ARGS=f"IP={asked}")
    assert refused == code
    assert told in text
    assert runtime.reserved() == {"10.5.34.9", "fc00:5:0:60::2"}


async def test_a_network_by_hand_has_its_own_bridge_and_gateways(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    config = by_hand(
        {"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.50", "rangeEnd": "10.9.0.51", "gateway": "10.9.0.254"},
        {"subnet": "fd09::/64"},
    )
    one, two, three = make_net(), make_net(), make_net()
    result = await runtime.add(one, {**config, "name": "hand"})
    assert addresses(result) == ["10.9.0.50/24", "fd09::2/64"]
    assert [item["gateway"] for item in result["ips"]] == ["10.9.0.254", "fd09::1"]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.9.0.254"}, {"dst": "::/0", "gw": "fd09::1"}]
    shown = node.run("ip -brief address show dev br-hand")
    assert "10.9.0.254/24" in shown
    assert "fd09::1/64" in shown
    assert addresses(await runtime.add(two, {**config, "name": "hand"}))[0] == "10.9.0.51/24"
    for destination in ("10.9.0.51", "10.9.0.254", "fd09::1", "fd09::3"):
        assert ping(one, destination)
    assert (await runtime.refusal("ADD", three, {**config, "name": "hand"}))[0] == 101
    await runtime.succeed("CHECK", one, {**config, "name": "hand", "prevResult": result})
    await runtime.delete(one, {**config, "name": "hand"})
    assert len(veths(node)) == 1


async def test_a_pod_gets_one_address_of_each_set_and_the_next_range_of_a_set_follows(
    runtime: Runtime, make_net: Callable[[], Net]
) -> None:
    ranges = [[{"subnet": "10.9.0.0/30"}, {"subnet": "10.9.1.0/30"}], [{"subnet": "10.9.2.0/29"}]]
    config = {"bridge": "br-hand", "isGateway": False, "isDefaultGateway": False, "ipam": {"ranges": ranges}}
    found = [addresses(await runtime.add(make_net(), config)) for _ in range(2)]
    assert found == [["10.9.0.2/30", "10.9.2.2/29"], ["10.9.1.2/30", "10.9.2.3/29"]]


async def test_ranges_of_the_runtime_go_before_those_of_the_configuration(runtime: Runtime, pod: Net) -> None:
    config = {**by_hand({"subnet": "fd09::/64"}), "runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.0/24"}]]}}
    assert addresses(await runtime.add(pod, config)) == ["10.9.0.2/24", "fd09::2/64"]


async def test_without_a_gateway_the_bridge_has_no_address(runtime: Runtime, node: Net, pod: Net) -> None:
    config = {**by_hand({"subnet": "10.9.0.0/24"}), "isGateway": False, "isDefaultGateway": False}
    result = await runtime.add(pod, config)
    assert result["routes"] == []
    assert "10.9.0" not in node.run("ip address show dev br-hand")


async def test_routes_by_hand_are_made_and_told(runtime: Runtime, pod: Net) -> None:
    routes = [
        {"dst": "192.0.2.0/24", "gw": "10.5.34.200"},
        {"dst": "198.51.100.0/24"},
        {"dst": "0.0.0.0/0", "gw": "10.5.34.201"},
        {"dst": "203.0.113.0/24", "priority": 7, "table": 100},
    ]
    result = await runtime.add(pod, {"ipam": {"routes": routes}})
    assert {"dst": "0.0.0.0/0", "gw": "10.5.34.201"} in result["routes"]
    assert {"dst": "203.0.113.0/24", "gw": "10.5.34.1", "priority": 7, "table": 100} in result["routes"]
    shown = pod.run("ip -4 route show")
    assert "default via 10.5.34.201 dev eth0" in shown
    assert "192.0.2.0/24 via 10.5.34.200 dev eth0" in shown
    assert "198.51.100.0/24 via 10.5.34.1 dev eth0" in shown
    assert "203.0.113.0/24 via 10.5.34.1 dev eth0 metric 7" in pod.run("ip route show table 100")
    await runtime.succeed("CHECK", pod, {"prevResult": result})


async def test_a_route_that_cannot_be_leaves_nothing(runtime: Runtime, node: Net, pod: Net) -> None:
    code, _ = await runtime.refusal("ADD", pod, {"ipam": {"routes": [{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]}})
    assert code == 100
    assert (veths(node), runtime.reserved()) == ([], set())


async def test_an_address_of_the_bridge_that_is_another_is_only_replaced_by_force(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    node.run("ip link add br-hand type bridge")
    node.run("ip address add 10.8.0.1/24 dev br-hand")
    config = by_hand({"subnet": "10.9.0.0/24"})
    code, text = await runtime.refusal("ADD", make_net(), config)
    assert code == 7
    assert text == "'br-hand' already has an IP address different from 10.9.0.1/24: 10.8.0.1/24"
    await runtime.add(make_net(), {**config, "forceAddress": True})
    shown = node.run("ip -brief -4 address show dev br-hand")
    assert "10.9.0.1/24" in shown
    assert "10.8.0.1" not in shown


async def test_the_agents_own_bridge_keeps_its_gateways(runtime: Runtime, node: Net, pod: Net) -> None:
    before = node.run("ip -brief address show dev cni0")
    config = {"forceAddress": True, "ipam": {"ranges": [[{"subnet": "10.9.0.0/24"}]]}}
    assert (await runtime.refusal("ADD", pod, config))[0] == 7
    assert node.run("ip -brief address show dev cni0") == before


async def test_the_nodes_subnets_are_on_the_agents_bridge_alone(runtime: Runtime, node: Net, pod: Net) -> None:
    assert (await runtime.refusal("ADD", pod, {"bridge": "br-hand"}))[0] == 7
    assert "br-hand" not in node.run("ip link")


async def test_a_device_of_the_bridges_name_that_is_none_is_refused(runtime: Runtime, node: Net, pod: Net) -> None:
    node.run("ip link add br-hand type veth peer name other")
    assert (await runtime.refusal("ADD", pod, by_hand({"subnet": "10.9.0.0/24"})))[0] == 102


async def test_a_port_can_be_isolated_and_the_bridge_promiscuous(runtime: Runtime, node: Net, pod: Net) -> None:
    await runtime.add(pod, {"hairpinMode": False, "promiscMode": True, "portIsolation": True})
    assert "PROMISC" in node.run("ip link show cni0")
    details = node.run(f"ip -details link show {veths(node)[0]}")
    assert "hairpin off" in details
    assert "isolated on" in details


async def test_dns_is_passed_on(runtime: Runtime, make_net: Callable[[], Net], tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# the node's\nnameserver 10.96.0.10\nsearch svc.cluster.local cluster.local\noptions ndots:5\n")
    result = await runtime.add(make_net(), {"ipam": {"resolvConf": str(file)}})
    assert result["dns"] == {
        "nameservers": ["10.96.0.10"],
        "search": ["svc.cluster.local", "cluster.local"],
        "options": ["ndots:5"],
    }
    given = {"nameservers": ["192.0.2.53"], "domain": "example.org"}
    assert (await runtime.add(make_net(), {"dns": given, "ipam": {"resolvConf": str(file)}}))["dns"] == given


async def test_a_file_of_dns_that_is_not_there_makes_nothing(runtime: Runtime, node: Net, pod: Net) -> None:
    code, _ = await runtime.refusal("ADD", pod, {"ipam": {"resolvConf": "/nowhere/resolv.conf"}})
    assert (code, veths(node), runtime.reserved()) == (5, [], set())


async def test_vlans_are_made_or_what_the_kernel_lacks_is_named(runtime: Runtime, node: Net, pod: Net) -> None:
    config = {**by_hand({"subnet": "10.9.0.0/24"}), "vlan": 100, "vlanTrunk": [{"minID": 200, "maxID": 202}]}
    done = await runtime.execute("ADD", pod, config)
    if done.status == 0:
        port = json.loads(done.output)["interfaces"][1]["name"]
        shown = node.run(f"bridge vlan show dev {port}")
        assert "100 PVID Egress Untagged" in shown
        assert "200" in shown
        assert "10.9.0.1/24" in node.run("ip -brief address show dev br-hand.100")
        return
    error = json.loads(done.output)
    assert (error["code"], error["msg"]) == (100, "br-hand: this kernel's bridges know no VLANs")
    assert "CONFIG_BRIDGE_VLAN_FILTERING" in error["details"]
    assert (veths(node), runtime.reserved()) == ([], set())


def _send(pod: Net, source: str) -> None:
    """Sends a broadcast frame from inside a pod."""
    frame = b"\xff" * 6 + bytes.fromhex(source.replace(":", "")) + b"\x88\xb5" + bytes(46)
    with entered(pod.namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(frame)


@pytest.fixture
def listener(node: Net) -> Iterator[socket.socket]:
    """What the node's bridge hears of our Ethernet type (IEEE 802: for local experiments)."""
    with entered(node.namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x88B5))
    with closing(raw):
        raw.bind(("cni0", 0x88B5))
        raw.settimeout(5)
        yield raw


@NFT
async def test_frames_with_a_false_sender_are_dropped(
    runtime: Runtime, node: Net, pod: Net, listener: socket.socket
) -> None:
    config = {"macspoofchk": True}
    result = await runtime.add(pod, config)
    _send(pod, "02:00:00:00:00:66")
    _send(pod, result["interfaces"][2]["mac"])
    assert listener.recvfrom(100)[1][4].hex(":") == result["interfaces"][2]["mac"]  # the first that comes through
    rules = node.run("nft list table bridge nankeen-pods")
    assert f'"{veths(node)[0]}" : jump {veths(node)[0]}' in rules
    assert "counter packets 1 " in rules
    for _ in range(2):
        await runtime.delete(pod, config)
        assert "jump" not in node.run("nft list table bridge nankeen-pods")


@NFT
@pytest.mark.parametrize("verb", ["DEL", "GC"])
async def test_rules_go_with_their_pod_also_where_the_configuration_asks_for_none_any_more(
    runtime: Runtime, node: Net, pod: Net, verb: str
) -> None:
    result = await runtime.add(pod, {"macspoofchk": True, "ipMasq": True})
    port = result["interfaces"][1]["name"]
    assert port in node.run("nft list ruleset")
    if verb == "DEL":
        await runtime.delete(pod)
    else:
        await runtime.succeed("GC", None, {"cni.dev/valid-attachments": []})
    left = node.run("nft list ruleset")
    assert port not in left
    assert "10.5.34.2" not in left
    assert "fc00:5:0:60::2" not in left


@NFT
async def test_masquerade_by_the_configuration_spares_the_pod_network(runtime: Runtime, node: Net, pod: Net) -> None:
    config = {"ipMasq": True}
    await runtime.add(pod, config)
    rules = node.run("nft list table inet nankeen-pods")
    assert "elements = { 10.5.34.2 }" in rules
    assert "elements = { 10.5.0.0/16 }" in rules  # the node's subnet is part of it
    await runtime.delete(pod, config)
    assert "10.5.34.2" not in node.run("nft list table inet nankeen-pods")


@NFT
@pytest.mark.parametrize("option", ["macspoofchk", "ipMasq"])
async def test_an_add_that_fails_leaves_no_rule(runtime: Runtime, node: Net, pod: Net, option: str) -> None:
    runtime.plugin.ready(PodNetwork((ip_network("10.5.34.0/24"),), 1450))
    pod.run("ip link add eth0 type bridge")
    assert (await runtime.refusal("ADD", pod, {option: True}))[0] == 102
    listing = node.run("nft list ruleset")
    assert "nankeen-pods" in listing
    assert "10.5.34.2" not in listing
    assert "jump" not in listing


async def test_a_port_that_was_pulled_out_finds_back_into_its_own_bridge(
    runtime: Runtime, node: Net, make_net: Callable[[], Net]
) -> None:
    hand = {**by_hand({"subnet": "10.9.0.0/24"}), "hairpinMode": False, "portIsolation": True}
    usual, other = make_net(), make_net()
    await runtime.add(usual)
    await runtime.add(other, hand)
    ports = veths(node)
    for port in ports:
        node.run(f"ip link set {port} nomaster")
    assert replug(node.socket, node.observe()) == ports
    assert ping(usual, "10.5.34.1")
    assert ping(other, "10.9.0.1")
    assert "isolated on" in node.run(f"ip -details link show {ports[1]}")
    await runtime.delete(other, hand)
    assert veths(node) == ports[:1]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
async def test_the_result_is_in_the_version_asked_for(runtime: Runtime, pod: Net, version: str) -> None:
    result = await runtime.add(pod, {"cniVersion": version})
    assert result["cniVersion"] == version
    if version < "0.3":
        assert result["ip4"]["ip"] == "10.5.34.2/24"
        assert result["ip6"]["routes"][0] == {"dst": "::/0", "gw": "fc00:5:0:60::1"}
    else:
        assert addresses(result) == ["10.5.34.2/24", "fc00:5:0:60::2/64"]
        assert result["ips"][1].get("version") == (None if version >= "1" else "6")
