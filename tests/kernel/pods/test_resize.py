"""Pods that run get another MTU, at both ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nankeen.kernel.netlink import link
from nankeen.kernel.observe import indexes
from nankeen.pods.resize import resize

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


def attached(node: Net, pod: Net, name: str, mtu: int) -> None:
    bridge = indexes(node.socket, ["cni0"])["cni0"]
    node.socket.request(link.veth(name, "eth0", pod.namespace.descriptor, mtu=mtu, master=bridge, up=True), name)


def test_pods_of_the_former_mtu_get_the_new_one_and_others_keep_theirs(make_net: Callable[[], Net]) -> None:
    node, first, second, special = make_net(), make_net(), make_net(), make_net()
    node.run("ip link add cni0 type bridge")
    attached(node, first, "veth1", 1450)
    attached(node, second, "veth2", 1450)
    attached(node, special, "veth3", 1300)
    for was, now in [(1450, 1430), (1430, 1500)]:
        assert resize(node.socket, was, now, 40 * now) == 2
        for pod, name in [(first, "veth1"), (second, "veth2")]:
            assert f"mtu {now} " in pod.run("ip link show eth0")
            assert f"gso_max_size {40 * now} " in pod.run("ip -details link show eth0")
            assert f"mtu {now} " in node.run(f"ip link show {name}")
    assert "mtu 1300 " in special.run("ip link show eth0")
    assert resize(node.socket, 1500, 1500) == 0
