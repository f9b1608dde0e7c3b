"""From flannel's rules to ours while traffic flows: nobody ever sees another source address, and nothing is lost."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from nankeen.model.address import Family
from tests.kernel.firewall.world import BOTH, ECHO, World, firewall, inside, subnet, underlay

NETWORKS = {Family.IPV4: "10.244.0.0/16", Family.IPV6: "fd44::/48"}
ADMINISTRATORS = '-p udp -m udp --dport 9 -m comment --comment "not \\"flannel\\"" -j DROP'
MULTICAST = {Family.IPV4: "224.0.0.0/4", Family.IPV6: "ff00::/8"}


@dataclass
class Traffic:
    """Datagrams from a pod, each a flow of its own, to the outside and to another node's pod in turn."""

    world: World
    family: Family
    sent: int = 0
    seen: dict[str, Counter[str]] = field(default_factory=lambda: {"lan": Counter(), "pod2": Counter()})
    arrived: threading.Condition = field(default_factory=threading.Condition)
    ended: threading.Event = field(default_factory=threading.Event)

    def wait_for_more(self) -> None:
        """Until 30 more have arrived everywhere: flows begun after this call are among them."""
        with self.arrived:
            marks = {where: sources.total() + 30 for where, sources in self.seen.items()}
            assert self.arrived.wait_for(
                lambda: all(self.seen[where].total() >= mark for where, mark in marks.items()), 20
            )

    def send(self) -> None:
        while not self.ended.is_set():
            self.world.send("pod1", underlay(9, self.family), b"x")
            self.world.send("pod1", inside(2, 5, self.family), b"x")
            self.sent += 1

    def receive(self, where: str) -> None:
        with self.world.listen(where, self.family) as receiver:
            self.listening()
            while True:
                source, data = receiver.next()
                if data == b"end":
                    return
                with self.arrived:
                    self.seen[where][source] += 1
                    self.arrived.notify_all()

    def listening(self) -> None:
        self.ready.release()

    ready: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@contextmanager
def flowing(world: World, family: Family) -> Iterator[Traffic]:
    """Traffic that flows inside the block; after it, all that was sent has been seen or was lost."""
    traffic = Traffic(world, family)
    receivers = [threading.Thread(target=traffic.receive, args=(where,)) for where in traffic.seen]
    for receiver in receivers:
        receiver.start()
    for _ in receivers:
        traffic.ready.acquire()
    sender = threading.Thread(target=traffic.send)
    sender.start()
    try:
        traffic.wait_for_more()
        yield traffic
        traffic.wait_for_more()
    finally:
        traffic.ended.set()
        sender.join()
        world.send("pod1", underlay(9, family), b"end", port=ECHO)
        world.send("pod1", inside(2, 5, family), b"end", port=ECHO)
        for receiver in receivers:
            receiver.join()


def assert_nobody_noticed(traffic: Traffic) -> None:
    assert traffic.seen == {
        "lan": {underlay(1, traffic.family): traffic.sent},
        "pod2": {inside(1, 5, traffic.family): traffic.sent},
    }


def flannel_nft(world: World) -> None:
    """What flannel writes in its nftables mode."""
    net = world.nets["node1"]
    for family in Family:
        kind = "ip" if family is Family.IPV4 else "ip6"
        table = f"{kind} flannel-ipv{family.value}"
        whole, own = NETWORKS[family], subnet(1, family)
        net.run(f"nft add table {table}")
        net.run(f"nft add chain {table} postrtg {{ type nat hook postrouting priority srcnat ; }}")
        net.run(f"nft add chain {table} forward {{ type filter hook forward priority filter ; }}")
        for rule in (
            "meta mark 0x4000 return",
            f"{kind} saddr {own} {kind} daddr {whole} return",
            f"{kind} saddr {whole} {kind} daddr {own} return",
            f"{kind} saddr != {own} {kind} daddr {whole} return",
            f"{kind} saddr {whole} {kind} daddr != {MULTICAST[family]} masquerade fully-random",
            f"{kind} saddr != {whole} {kind} daddr {whole} masquerade fully-random",
        ):
            net.run(f"nft add rule {table} postrtg {rule}")
        net.run(f"nft add rule {table} forward {kind} saddr {whole} accept")


def flannel_iptables(world: World, engine: str) -> None:
    """What flannel writes in its iptables mode, and a FORWARD chain of an administrator's that drops."""
    net = world.nets["node1"]
    for family in Family:
        program = f"{'iptables' if family is Family.IPV4 else 'ip6tables'}-{engine}"
        whole, own, masq = NETWORKS[family], subnet(1, family), '-m comment --comment "flanneld masq"'
        forward = '-m comment --comment "flanneld forward"'
        text = f"""*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING {masq} -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} -j RETURN
-A FLANNEL-POSTRTG -s {own} -d {whole} {masq} -j RETURN
-A FLANNEL-POSTRTG -s {whole} -d {own} {masq} -j RETURN
-A FLANNEL-POSTRTG ! -s {whole} -d {own} {masq} -j RETURN
-A FLANNEL-POSTRTG -s {whole} ! -d {MULTICAST[family]} {masq} -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s {whole} -d {whole} {masq} -j MASQUERADE --random-fully
COMMIT
*filter
:FORWARD DROP [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD {ADMINISTRATORS}
-A FORWARD {forward} -j FLANNEL-FWD
-A FLANNEL-FWD -s {whole} {forward} -j ACCEPT
-A FLANNEL-FWD -d {whole} {forward} -j ACCEPT
COMMIT
"""
        command = ["ip", "netns", "exec", net.name, f"{program}-restore", "--noflush"]
        subprocess.run(command, input=text, text=True, check=True)


@BOTH
@pytest.mark.parametrize("mode", ["nftables", "legacy", "nft"])
def test_flannels_rules_are_taken_over_without_a_wrong_source_or_a_lost_packet(
    world: World, family: Family, mode: str
) -> None:
    flannel_nft(world) if mode == "nftables" else flannel_iptables(world, mode)
    node = world.nets["node1"]
    with flowing(world, family) as traffic:
        changed = world.filter().converge(firewall(ip_masq=True))
        traffic.wait_for_more()
        removed = world.filter().remove_flannel()
    assert_nobody_noticed(traffic)
    assert changed[0] == "+ table inet nankeen"
    assert len(removed) == (2 if mode == "nftables" else 4)
    saved = "" if mode == "nftables" else node.run(f"iptables-{mode}-save") + node.run(f"ip6tables-{mode}-save")
    left = node.run("nft list ruleset") + saved
    assert "FLANNEL" not in left
    assert "flanneld" not in left
    assert "table ip flannel" not in left
    assert saved.count(f"-A FORWARD {ADMINISTRATORS}") == (0 if mode == "nftables" else 2)
    assert world.filter().remove_flannel() == []
    assert world.filter().converge(firewall(ip_masq=True)) == []


@BOTH
def test_the_table_is_replaced_again_and_again_while_traffic_flows(world: World, family: Family) -> None:
    world.filter().converge(firewall(ip_masq=True))
    with flowing(world, family) as traffic:
        for number in range(20):
            assert world.filter().converge(firewall(ip_masq=True, fully_random=bool(number % 2)))
    assert_nobody_noticed(traffic)
