"""IPsec's policies on a real kernel, read back with `ip xfrm`, and what they do to packets."""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel import xfrm
from nankeen.kernel.apply import apply
from nankeen.kernel.namespace import entered
from nankeen.kernel.netlink import link
from nankeen.kernel.observe import observe
from nankeen.model.diff import Change, Claim, Verb, diff
from nankeen.model.errors import KernelError
from nankeen.model.state import Address, Bridge, Link, Route, State
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy

if TYPE_CHECKING:
    from tests.kernel.conftest import Net

NETWORK, OWN, FAR = ip_network("10.5.0.0/16"), ip_network("10.5.1.0/24"), ip_network("10.5.2.0/24")
HERE, THERE = ip_address("10.99.0.1"), ip_address("10.99.0.2")
CLAIM = Claim(networks=frozenset({NETWORK}), underlays=frozenset({"eth0"}), policies=True)
OUT = XfrmPolicy(Direction.OUT, OWN, FAR, EspTunnel(HERE, THERE))
PEER = State([
    OUT,
    XfrmPolicy(Direction.IN, FAR, OWN, EspTunnel(THERE, HERE)),
    XfrmPolicy(Direction.FWD, FAR, OWN, EspTunnel(THERE, HERE)),
])  # fmt: skip


@pytest.fixture
def node(net: Net) -> Net:
    if not (has_policies(net)):
        pytest.skip("this kernel has no policies of IPsec")
    return net


def has_policies(net: Net) -> bool:
    try:
        return xfrm.observe(net.socket) == []
    except KernelError:
        return False


def policies(net: Net) -> State:
    return State(observe(net.socket, policies=True).of(XfrmPolicy))


def reconcile(net: Net, desired: State) -> list[str]:
    changes = diff(desired, observe(net.socket, policies=True), CLAIM)
    assert apply(net.socket, changes, net.namespace) == []
    return [str(change) for change in changes]


def test_policies_look_to_ip_as_flannels_do(node: Net) -> None:
    reconcile(node, PEER)
    assert node.run("ip xfrm policy list dir out").split("\n") == [
        "src 10.5.1.0/24 dst 10.5.2.0/24 ",
        "\tdir out priority 0 ptype main ",
        "\ttmpl src 10.99.0.1 dst 10.99.0.2",
        "\t\tproto esp reqid 11 mode tunnel",
        "",
    ]
    for direction in ("in", "fwd"):
        told = node.run(f"ip xfrm policy list dir {direction}")
        assert "src 10.5.2.0/24 dst 10.5.1.0/24" in told
        assert "tmpl src 10.99.0.2 dst 10.99.0.1" in told


def test_policies_that_stand_are_left_alone(node: Net) -> None:
    assert len(reconcile(node, PEER)) == 3
    assert policies(node) == PEER
    assert reconcile(node, PEER) == []


@pytest.mark.parametrize(
    "damage",
    [
        "ip xfrm policy delete src 10.5.1.0/24 dst 10.5.2.0/24 dir out",
        "ip xfrm policy flush",
        "ip xfrm policy update src 10.5.1.0/24 dst 10.5.2.0/24 dir out",
        "ip xfrm policy update src 10.5.1.0/24 dst 10.5.2.0/24 dir out action block",
        (
            "ip xfrm policy update src 10.5.1.0/24 dst 10.5.2.0/24 dir out "
            "tmpl src 10.99.0.1 dst 10.99.0.9 proto esp reqid 11 mode tunnel"
        ),
        (
            "ip xfrm policy update src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd "
            "tmpl src 10.99.0.2 dst 10.99.0.1 proto esp reqid 11 mode tunnel level use"
        ),
    ],
)
def test_damage_is_repaired(node: Net, damage: str) -> None:
    reconcile(node, PEER)
    node.run(damage)
    assert reconcile(node, PEER) != []
    assert policies(node) == PEER
    assert reconcile(node, PEER) == []


def test_a_peer_that_moved_is_a_change_of_its_policies_in_place(node: Net) -> None:
    reconcile(node, PEER)
    moved = State([replace(OUT, tunnel=EspTunnel(HERE, ip_address("10.99.0.7"))), *list(PEER)[1:]])
    assert [line[0] for line in reconcile(node, moved)] == ["~"]
    assert policies(node) == moved


def test_what_a_former_peer_left_is_removed_and_nothing_else(node: Net) -> None:
    tunnel = "tmpl src 10.99.0.1 dst 10.99.0.3 proto esp mode tunnel reqid"
    for foreign in (
        f"src 10.5.1.0/24 dst 10.5.4.0/24 dir out {tunnel} 12",
        f"src 10.5.1.0/24 dst 10.6.4.0/24 dir out {tunnel} 11",
        f"src 10.5.1.0/24 dst 10.5.5.0/24 proto tcp dport 443 dir out {tunnel} 11",
        f"src 10.5.1.0/24 dst 10.5.6.0/24 dir out mark 7 {tunnel} 11",
        "src 10.5.1.0/24 dst 10.5.7.0/24 dir out action block",
        "src 10.5.1.0/24 dst 10.5.8.0/24 dir out",
    ):
        node.run(f"ip xfrm policy add {foreign}")
    kept = node.run("ip xfrm policy")
    node.run(f"ip xfrm policy add src 10.5.1.0/24 dst 10.5.3.0/24 dir out {tunnel} 11")
    assert [line[:44] for line in reconcile(node, State())] == ["- src 10.5.1.0/24 dst 10.5.3.0/24 dir out pr"]
    assert node.run("ip xfrm policy") == kept


def test_removing_a_policy_that_has_gone_is_no_failure(node: Net) -> None:
    assert apply(node.socket, [Change(Verb.REMOVE, OUT, OUT)], node.namespace) == []


def test_a_route_that_no_policy_protects_is_withheld(node: Net) -> None:
    node.run("ip link add eth0 type bridge")
    node.run("ip link set eth0 up")
    impossible = replace(OUT, destination=ip_network("fc00:5:0:2::/64"))  # from one family to the other
    route = Route(impossible.destination, "eth0", ip_address("fd99::2"), onlink=True)
    changes = diff(State([impossible, route]), observe(node.socket), CLAIM)
    refused = apply(node.socket, changes, node.namespace)
    assert [refusal.change.object for refusal in refused] == [impossible, route]
    assert "no policy of IPsec protects its packets" in str(refused[1])
    assert "fc00" not in node.run("ip -6 route")


def test_packets_of_a_peer_without_keys_never_leave_in_the_clear(make_net: Callable[[], Net]) -> None:
    """The route leads to the neighbour; only the policy stands between the packets and the wire."""
    node, wire = make_net(), make_net()
    if not has_policies(node):
        pytest.skip("this kernel has no policies of IPsec")
    node.socket.request(link.veth("eth0", "far0", wire.namespace.descriptor), "eth0")
    wire.run("ip link set far0 up")
    wire.run("ip address add 10.99.0.2/24 dev far0")
    desired = State([
        Link("cni0", Bridge(), 1423), Address("cni0", ip_interface("10.5.1.1/24")),
        Link("eth0", next(found.kind for found in node.observe().of(Link) if found.name == "eth0")),
        Address("eth0", ip_interface("10.99.0.1/24")), *PEER,
        Route(FAR, "eth0", THERE, onlink=True, protocol=110),
    ])  # fmt: skip
    reconcile(node, desired)
    with entered(wire.namespace):
        listener = sockets.socket(sockets.AF_PACKET, sockets.SOCK_RAW, sockets.htons(0x0800))
    with entered(node.namespace):
        sender = sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM)
    with listener, sender:
        listener.settimeout(5)
        sender.setblocking(False)
        sender.bind(("10.5.1.1", 0))
        for _ in range(3):
            try_to_send(sender, b"secret", ("10.5.2.9", 9))
        sender.close()
        with entered(node.namespace), sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as plain:
            plain.sendto(b"marker", ("10.99.0.2", 9))  # an ordinary packet, sent last, ends the wait
        seen = listener.recv(2048)
        assert seen.endswith(b"marker")


def try_to_send(sender: sockets.socket, data: bytes, to: tuple[str, int]) -> None:
    try:
        sender.sendto(data, to)
    except OSError:
        return  # the kernel may say at once that it has no keys


def test_a_kernel_without_esp_is_told_by_its_modules(node: Net) -> None:
    try:
        node.run("ip xfrm state add src 127.0.0.1 dst 127.0.0.1 proto esp spi 0x1234 mode tunnel enc cipher_null 0x")
    except AssertionError as refused:
        if "type not found" not in str(refused):
            pytest.skip("whether this kernel has ESP cannot be told by `ip`")
        with pytest.raises(KernelError, match="load the modules `xfrm_user` and `esp4`, or choose another backend"):
            xfrm.require_esp(node.socket)
    else:
        node.run("ip xfrm state flush")
        xfrm.require_esp(node.socket)
    assert node.run("ip xfrm state") == ""
