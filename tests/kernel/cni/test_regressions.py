"""What went wrong in other pod networks' plugins, runtimes and installers, and must not here: a test for each.

| known as | what happened there | test |
|---|---|---|
| CVE-2020-10749, -11091, -13401, -13597 | a pod's router advertisements reached the node, which then sent it its traffic | a_pod_makes_itself_no_router_of_the_node |
| CVE-2021-20206 | `type: ../../bin/reboot` was executed as a plugin | nothing_outside_the_plugins_directories_is_executed |
| containernetworking/cni 698, podman 4184 | container IDs and network names with `/` became files anywhere | no_name_becomes_a_path |
| CVE-2022-29178 | a group of users had the agent's socket | another_user_cannot_even_reach_the_socket |
| CVE-2024-33522 | the installer made what it installed set-user-ID | what_is_installed_never_keeps_a_set_user_id_bit |
| CVE-2023-27595 | filters were gone for a moment while the agent started | a_restarted_agent_takes_no_pods_filter_away |
| CVE-2022-28224 | a pod asked for an address of somebody else, and got his traffic | a_pod_gets_no_address_outside_its_nodes_subnet |
| CVE-2024-8418 | one idle client kept all others waiting | idle_clients_hold_up_nobody |
| CVE-2025-8283 | pods searched names in domains that were nobody's business | a_pod_has_no_search_domain_that_nobody_gave_it |
| code in a directory or PYTHONPATH of the caller | ran as root in an interpreter that looked there | the_callers_python_path_is_not_looked_into |
| CVE-2019-9946 | a host port went before services | test_hostports.py: services_of_other_tools_keep_their_ports |
| CVE-2025-67499 | a host port took traffic for other hosts | test_hostports.py: packets_that_the_node_only_forwards_are_nobodys_host_port |
| CVE-2020-8558 | others on the wire reached the node's 127.0.0.1 | test_hostports.py: nobody_on_the_wire_or_in_a_pod_is_localhost |
| GHSA-8fg8-jh2h-f2hc | of a port's clients, those by IPv6 seemed to be the node | test_hostports.py: a_host_port_leads_to_the_pod_which_sees_who_asks |
"""  # noqa: E501  (a table)

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from nankeen.cni import install
from nankeen.kernel.namespace import entered
from nankeen.kernel.netlink.socket import split
from nankeen.kernel.program import find
from tests.kernel.cni.runtime import Config, Runtime, veths
from tests.kernel.cni.test_faults import serve
from tests.kernel.conftest import Net

python_only = pytest.mark.parametrize("contents", ["python"], indirect=True)
"""Which of the twins asks makes no difference here."""


@python_only
@pytest.mark.parametrize("ranges", [None, [[{"subnet": "10.9.0.0/24"}]]])
async def test_a_pod_makes_itself_no_router_of_the_node(
    runtime: Runtime, node: Net, pod: Net, ranges: list[object] | None
) -> None:
    """By the node's own bridge, and by one of IPv4 alone that a configuration asks for.

    A second advertisement, which the bridge has been told to take, shows that the first has come and was not taken.
    """
    config: Config = {"bridge": "br9", "ipam": {"ranges": ranges}} if ranges else {}
    result = await runtime.add(pod, config)
    bridge, port = (interface["name"] for interface in result["interfaces"][:2])
    assert {node.run(f"sysctl -n net.ipv6.conf.{name}.accept_ra").strip() for name in (bridge, port)} == {"0"}
    node.run(f"sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.{bridge}.forwarding=0")
    pod.run("ip address add fe80::99/64 dev eth0 nodad")
    _advertise(pod, "2001:db8:1::")
    node.run(f"sysctl -qw net.ipv6.conf.{bridge}.accept_ra=1")
    routes = ""
    for _ in range(100):
        if "2001:db8:2::/64" not in routes:
            _advertise(pod, "2001:db8:2::")
            routes = node.run("ip -6 route")
    assert "2001:db8:2::/64" in routes
    assert "2001:db8:1::" not in routes + node.run("ip -6 address")


def _advertise(pod: Net, prefix: str) -> None:
    """A router's advertisement of a prefix (RFC 4861 §4.2, §4.6.2), to all nodes on the link."""
    option = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, IPv6Address(prefix).packed)
    with entered(pod.namespace), closing(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)) as raw:
        link = socket.if_nametoindex("eth0")
        raw.bind(("fe80::99", 0, 0, link))
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option, ("ff02::1", 0, 0, link))


@python_only
@pytest.mark.parametrize("kind", ["../evil", "..", "/bin/true", "a/../../evil", "evil\0", ""])
async def test_nothing_outside_the_plugins_directories_is_executed(
    runtime: Runtime, pod: Net, tmp_path: Path, kind: str
) -> None:
    plugins, witness = tmp_path / "bin", tmp_path / "executed"
    plugins.mkdir()
    (tmp_path / "evil").write_text(f"#!/bin/sh\ntouch {witness}\n")
    (tmp_path / "evil").chmod(0o755)
    (tmp_path / "env").write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    files = {"subnetFile": str(tmp_path / "env"), "dataDir": str(tmp_path / "flannel")}
    for config in ({"type": "flannel", "delegate": {"type": kind}, **files}, {"ipam": {"type": kind or "../evil"}}):
        for verb in ("ADD", "DEL"):
            assert (await runtime.refusal(verb, pod, config, CNI_PATH=str(plugins)))[0] in (2, 7)
    assert not witness.exists()


HOSTILE = ["../../escaped", "/escaped", "..", ".", "a/b", "a\nb", "a b", "x" * 201]


@python_only
@pytest.mark.parametrize("name", HOSTILE)
async def test_no_name_becomes_a_path(runtime: Runtime, node: Net, pod: Net, tmp_path: Path, name: str) -> None:
    before = _paths(tmp_path)
    asked: list[tuple[Config, dict[str, str], int]] = [
        ({}, {"CNI_CONTAINERID": name}, 4), ({}, {"CNI_IFNAME": name}, 4), ({"name": name}, {}, 7),
        ({"bridge": name}, {}, 7),
    ]  # fmt: skip
    for config, environment, code in asked:
        for verb in ("ADD", "DEL"):
            assert (await runtime.refusal(verb, pod, config, **environment))[0] == code
    assert (veths(node), _paths(tmp_path)) == ([], before)


def _paths(top: Path) -> set[Path]:
    return {*top.rglob("*"), *top.parent.glob("escaped*"), *Path("/").glob("escaped*")}


@python_only
async def test_another_user_cannot_even_reach_the_socket(runtime: Runtime) -> None:
    path = runtime.client.socket
    assert (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    asked = (
        f"import os, socket; os.setgroups([0]); os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    )
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", asked, stderr=subprocess.PIPE)
    _, told = await done.communicate()
    assert b"PermissionError" in told


@pytest.mark.parametrize("mode", [0o4755, 0o6755, 0o2755, 0o777])
def test_what_is_installed_never_keeps_a_set_user_id_bit(tmp_path: Path, mode: int) -> None:
    """Also where the very same octets are there already, with that mode."""
    installed = install.install_executable(tmp_path)
    installed.chmod(mode)
    install.install_executable(tmp_path)
    assert stat.S_IMODE(installed.stat().st_mode) == 0o755


@pytest.mark.skipif(find("nft") is None, reason="the program nft is not installed")
def test_a_restarted_agent_takes_no_pods_filter_away(
    node: Net, pod: Net, make_net: Callable[[], Net], tmp_path: Path
) -> None:
    """Every change of the packet filter is heard, while each request is served by another agent: a pod that was there
    before loses nothing.
    """
    config, other = {"macspoofchk": True, "ipMasq": True}, make_net()
    serve("ADD", pod, tmp_path, config)
    [port] = veths(node)
    with _news(node) as news:
        serve("ADD", pod, tmp_path, config)  # a runtime that does not remember, either
        serve("ADD", other, tmp_path, config)
        serve("DEL", other, tmp_path, config)
        heard = list(_receive(news))
    gone = [body for kind, body in heard if kind in (_DELTABLE, _DELCHAIN, _DELSET, _DELSETELEM)]
    assert any(ip_address("10.5.34.3").packed in body for body in gone)
    for name in (ip_address("10.5.34.2").packed, ip_address("fc00:5:0:60::2").packed, port.encode()):
        assert not any(name in body for body in gone)
    assert not {_DELTABLE, _DELSET} & {kind for kind, _ in heard}


_NETLINK_NETFILTER, _NFNLGRP_NFTABLES = 12, 7
_DELTABLE, _DELCHAIN, _DELSET, _DELSETELEM = 2, 5, 11, 14
"""NFT_MSG_* (linux/netfilter/nf_tables.h)."""


@contextmanager
def _news(node: Net) -> Iterator[socket.socket]:
    """What the kernel tells of changes in the packet filter."""
    with entered(node.namespace):
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    with closing(news):
        news.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
        news.setblocking(False)
        yield news


def _receive(news: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The kinds and bodies of what has come: it was sent before the change was acknowledged."""
    with suppress(BlockingIOError):
        while True:
            for kind, _, _, _, body in split(news.recv(1 << 20)):
                yield kind & 0xFF, body


@python_only
@pytest.mark.parametrize("address", ["10.5.35.7", "10.96.0.1", "8.8.8.8", "10.5.34.0", "10.5.34.1", "10.5.34.255"])
async def test_a_pod_gets_no_address_outside_its_nodes_subnet(runtime: Runtime, pod: Net, address: str) -> None:
    """Nor one in it that is not a pod's to have: the subnet's own, the gateway's, the broadcast address."""
    wishes: list[tuple[Config, dict[str, str]]] = [
        ({"runtimeConfig": {"ips": [address]}}, {}), ({"args": {"cni": {"ips": [address]}}}, {}),
        ({}, {"CNI_ARGS": f"IP={address}"}),
    ]  # fmt: skip
    for config, environment in wishes:
        assert (await runtime.refusal("ADD", pod, config, **environment))[0] in (7, 101)
    assert runtime.reserved() == set()


@python_only
async def test_idle_clients_hold_up_nobody(runtime: Runtime, pod: Net) -> None:
    with ExitStack() as idle:
        for number in range(300):
            client = idle.enter_context(closing(socket.socket(socket.AF_UNIX)))
            client.connect(str(runtime.client.socket))
            client.send(b"CNI_COMMAND=ADD\0"[: number % 16])
        await runtime.add(pod)
        await runtime.delete(pod)


@python_only
async def test_a_pod_has_no_search_domain_that_nobody_gave_it(runtime: Runtime, pod: Net) -> None:
    """Whatever the node's own resolver searches."""
    assert not (await runtime.add(pod)).get("dns")


async def test_the_callers_python_path_is_not_looked_into(runtime: Runtime, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    for module in ("sitecustomize", "usercustomize", "time", "_socket", "posix", "encodings"):
        (evil / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    paths = {
        "PYTHONPATH": str(evil),
        "PYTHONSTARTUP": str(evil / "time.py"),
        "PYTHONHOME": str(evil),
        "HOME": str(evil),
    }
    here = Path.cwd()
    os.chdir(evil)
    try:
        done = await runtime.execute("STATUS", None, None, **paths)
    finally:
        os.chdir(here)
    assert (done.status, done.output, done.errors) == (0, b"", b"")
    assert not (tmp_path / "executed").exists()
    assert json.loads((await runtime.execute("VERSION", None, None, **paths)).output)["cniVersion"] == "1.1.0"
