"""A node cleaned up from outside: what flannel, nankeen and real CNI plugins left goes, what others have stays."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asyncinotify import Inotify, Mask

from nankeen.cni import install
from nankeen.cni.request import Attachment
from nankeen.kernel import syscalls
from nankeen.model.address import Family
from nankeen.model.hostport import PortMapping, Transport
from nankeen.model.state import Address, Object, Route, State
from nankeen.pods.portstore import PodPorts, PortStore
from tests.unit.agent import stand_in

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node
    from tests.kernel.conftest import Net

PLUGINS = Path("/usr/lib/cni")
SOURCE = Path(__file__).parents[3] / "src"
ENGINES = ("legacy", "nft")
TUNNEL = "dir out tmpl src 192.168.0.11 dst 192.168.0.12 proto esp mode tunnel"
NETWORKS = {Family.IPV4: ("10.244.0.0/16", "10.244.1.0/24"), Family.IPV6: ("fd44::/48", "fd44:0:0:1::/64")}


@dataclass
class Host:
    """A node: its namespace, and its directories."""

    net: Net
    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, "PYTHONPATH": str(SOURCE)})

    @property
    def options(self) -> list[str]:
        places = {
            "cni-bin-dir": "bin", "cni-conf-dir": "conf", "cni-data-dir": "data",
            "flannel-dir": "flannel", "run-dir": "run/nankeen", "state-dir": "lib/nankeen",
        }  # fmt: skip
        return [word for name, path in places.items() for word in (f"--{name}", str(self.root / path))]

    def command(self, *words: str) -> list[str]:
        program = ("ip", "netns", "exec", self.net.name, sys.executable, "-m", "nankeen", "cleanup")
        return [*program, *self.options, *words]

    def cleanup(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env=self.environment,
        )  # fmt: skip

    def feed(self, command: str, text: str) -> None:
        """Runs a command inside that reads a text."""
        subprocess.run(["ip", "netns", "exec", self.net.name, *command.split()], input=text, text=True, check=True)

    def put(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    @property
    def files(self) -> list[str]:
        """Every file below the node's directories."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir())

    @property
    def everything(self) -> tuple[State, str]:
        """What the kernel holds, without what comes and goes by itself: link-local addresses."""
        state = State(item for item in self.net.observe() if not by_itself(item))
        rules = self.net.run("nft --stateless list ruleset")
        for base in ("iptables", "ip6tables"):
            saved = self.net.run(f"{base}-legacy-save")
            rules += "".join(f"{line}\n" for line in saved.splitlines() if line.startswith(("-A", "*")))
        return state, rules + self.net.run("ip xfrm policy")


def by_itself(item: Object) -> bool:
    match item:
        case Address(interface=interface):
            return interface.is_link_local
        case Route(destination=destination):
            return destination.is_link_local or destination.is_multicast
        case _:
            return False


@pytest.fixture
def host(net: Net, tmp_path: Path) -> Host:
    """A node with an underlay, on which others have much that is like flannel's."""
    found = Host(net, tmp_path)
    for command in (
        "sysctl -qw net.ipv6.conf.default.accept_dad=0",
        "ip link add eth0 type veth peer name far",
        "ip address add 192.168.0.11/24 dev eth0",
        "ip link set far up",
        "ip link set eth0 up",
        "ip link add docker0 type bridge",
        "ip link add veth0 type veth peer name veth1",
        "ip link set veth0 master docker0",
        "ip link add vxlan9 type vxlan id 9 dev eth0 dstport 4789",
        "ip link add flannel.seven type bridge",
        "ip route add 172.16.0.0/12 via 192.168.0.1",
        f"ip xfrm policy add src 10.244.1.0/24 dst 172.16.0.0/16 {TUNNEL} reqid 3",
        "nft add table inet administrator",
        "nft add chain inet administrator flannel",
    ):
        net.run(command)
    for engine in ENGINES:
        for base in ("iptables", "ip6tables"):
            found.feed(f"{base}-{engine}-restore --noflush", ADMINISTRATORS)
    found.put("conf/87-podman.conflist", '{"name":"podman","plugins":[{"type":"bridge"}]}')
    found.put("data/networks/podman/10.88.0.2", "someone\r\neth0")
    found.put("bin/bridge", b"\x7fELF")
    return found


ADMINISTRATORS = """*nat
-A POSTROUTING -p udp -m udp --dport 9 -j RETURN
COMMIT
*filter
-A FORWARD -m comment --comment "not \\"flannel\\"" -j ACCEPT
COMMIT
"""


def leave_devices(host: Host) -> None:
    """As flannel's backends and the bridge and bandwidth plugins leave them."""
    for command in (
        "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.0.11 dstport 8472 nolearning",
        "ip address add 10.244.1.0/32 dev flannel.1",
        "ip link set flannel.1 up",
        "ip neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
        "bridge fdb append 02:00:00:00:00:02 dev flannel.1 dst 192.168.0.12 self permanent",
        "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
        "ip link add flannel-v6.1 type vxlan id 1 dev eth0 local fd00::11 dstport 8472 nolearning",
        "ip link set flannel-v6.1 up",
        "ip -6 route add fd44:0:0:2::/64 via fd44:0:0:2:: dev flannel-v6.1 onlink",
        "ip tuntap add flannel0 mode tun",
        "ip route add 10.244.3.0/24 via 192.168.0.13 dev eth0 proto 110 onlink",
        "ip link add cni0 type bridge",
        "ip address add 10.244.1.1/24 dev cni0",
        "ip link set cni0 up",
        "ip link add vethdeadbeef type veth peer name inside",
        "ip link set vethdeadbeef master cni0",
        "ip link add bwp0123456789ab type ifb",
        f"ip xfrm policy add src 10.244.1.0/24 dst 10.244.2.0/24 {TUNNEL} reqid 11",
    ):
        host.net.run(command)


def leave_tables(host: Host) -> None:
    """As flannel leaves them in its nftables mode."""
    for family, (whole, _) in NETWORKS.items():
        kind = "ip" if family is Family.IPV4 else "ip6"
        table = f"{kind} flannel-ipv{family.value}"
        host.net.run(f"nft add table {table}")
        host.net.run(f"nft add chain {table} postrtg {{ type nat hook postrouting priority srcnat ; }}")
        host.net.run(f"nft add rule {table} postrtg {kind} saddr {whole} masquerade fully-random")


def leave_chains(host: Host, engine: str) -> None:
    """As flannel leaves them in its iptables mode."""
    masq, forward = '-m comment --comment "flanneld masq"', '-m comment --comment "flanneld forward"'
    for family, (whole, own) in NETWORKS.items():
        text = f"""*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING {masq} -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -s {own} -d {whole} {masq} -j RETURN
-A FLANNEL-POSTRTG -s {whole} {masq} -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD {forward} -j FLANNEL-FWD
-A FLANNEL-FWD -s {whole} {forward} -j ACCEPT
COMMIT
"""
        base = "iptables" if family is Family.IPV4 else "ip6tables"
        host.feed(f"{base}-{engine}-restore --noflush", text)


def leave_files(host: Host) -> None:
    plugins: list[dict[str, Any]] = [{"type": "flannel", "delegate": {}}, {"type": "portmap"}]
    host.put("conf/10-flannel.conflist", json.dumps({"name": "cbr0", "cniVersion": "0.3.1", "plugins": plugins}))
    host.put("bin/flannel", b"\x7fELF\0github.com/flannel-io/cni-plugin\0")
    host.put("flannel/subnet.env", "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n")
    host.put("data/flannel/deadbeef", "{}")
    host.put("data/networks/cbr0/10.244.1.2", "deadbeef\r\neth0")
    host.put("data/results/cbr0-deadbeef-eth0", '{"networkName":"cbr0","containerId":"deadbeef"}')


@pytest.mark.parametrize("mode", ["nftables", *ENGINES])
def test_a_node_is_after_flannel_as_it_was_before(host: Host, mode: str) -> None:
    before, files = host.everything, host.files
    leave_devices(host)
    leave_tables(host) if mode == "nftables" else leave_chains(host, mode)
    leave_files(host)
    assert host.everything != before
    done = host.cleanup()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("removed; sysctls are left as they are\n")
    assert (host.everything, host.files) == (before, files)


def test_cleaning_up_twice_is_as_good_as_once(host: Host) -> None:
    leave_devices(host)
    assert host.cleanup().returncode == 0
    again = host.cleanup("--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["remove"] == {}


def test_what_is_shown_is_what_ip_and_nft_print_and_a_dry_run_removes_nothing(host: Host) -> None:
    leave_devices(host)
    leave_tables(host)
    leave_files(host)
    before, files = host.everything, host.files
    done = host.cleanup("--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert (host.everything, host.files) == (before, files)
    for line in (
        "  - flannel.1: vxlan id 1 local 192.168.0.11 dev eth0 dstport 8472 nolearning ",
        "  - 10.244.3.0/24 via 192.168.0.13 dev eth0 proto 110 onlink\n",
        "  - src 10.244.1.0/24 dst 10.244.2.0/24 dir out ",
        "  - table ip6 flannel-ipv6\n",
        f"  - {host.root}/conf/10-flannel.conflist\n",
        "  · flannel.1: goes with 1 route, 1 neighbour, 1 forwarding entry\n",
    ):
        assert line in done.stdout
    assert done.stdout.endswith("nothing was removed: --dry-run\n")


def test_files_stay_where_that_is_wanted(host: Host) -> None:
    leave_devices(host)
    leave_files(host)
    files = host.files
    assert host.cleanup("--keep-files").returncode == 0
    assert host.files == files
    assert "flannel" not in host.net.run("ip link").replace("flannel.seven", "")


async def test_a_node_is_after_nankeen_as_it_was_before(node: Node) -> None:
    host = Host(node.net, node.directory)
    before, files = host.everything, host.files
    await node.join(2)
    port = PortMapping(Transport.TCP, 8080, 80)
    pod = PodPorts("cbr0", Attachment("c1", "eth0"), (IPv4Interface("10.244.0.2/24"),), (port,), "cni0")
    PortStore(node.directory / "run/ports").write(pod)
    await node.start()
    await node.stop(signal.SIGKILL)
    assert "tcp . 8080 : 10.244.0.2 . 80" in node.net.run("nft list table inet nankeen-ports")
    done = host.cleanup()
    assert (done.returncode, done.stderr) == (0, "")
    assert host.everything == before
    agents_own = {
        "leases.json",
        "log",
        "run/status.json",
        "run/cni.sock",
        f"run/ports/{pod.key}",
    }  # not where this agent usually has them
    registry = {name for name in host.files if name.startswith("registry.db")}
    assert {*host.files} - agents_own - registry == {*files} - registry


def test_a_data_path_that_an_agent_left_is_ended(host: Host) -> None:
    (host.root / "run/nankeen").mkdir(parents=True)
    socket = host.root / "run/nankeen/tunnel.sock"
    host.net.run("ip tuntap add dev flannel0 mode tun multi_queue")
    program = [sys.executable, "-P", stand_in.__file__, "well", "1", "--socket", str(socket)]
    with subprocess.Popen(program, env=host.environment) as process:
        try:
            with Inotify() as inotify:
                inotify.add_watch(socket.parent, Mask.CREATE)
                while not socket.exists():
                    inotify.sync_get()
            assert f"  - data path of the udp backend, process {process.pid}\n" in host.cleanup("--dry-run").stdout
            assert process.poll() is None
            done = host.cleanup()
            assert (done.returncode, done.stderr) == (0, "")
            assert process.wait(10) == 0
        finally:
            process.kill()
    assert "flannel0" not in host.net.run("ip link show")
    assert not socket.parent.exists()


def put_status(host: Host, pid: int) -> None:
    told = {"node": "node1", "pid": pid, "subnets": [], "refused": []}
    host.put("run/nankeen/status.json", json.dumps(told))


async def test_while_an_agent_runs_nothing_is_removed(node: Node) -> None:
    host = Host(node.net, node.directory)
    running = await node.start()
    put_status(host, running.pid)
    before, files = host.everything, host.files
    done = host.cleanup("--yes")
    assert done.returncode == 2
    assert done.stderr.endswith(
        f"an agent runs, process {running.pid}; stop it first: it would put back at once what is removed\n"
    )
    assert (host.everything, host.files) == (before, files)
    (host.root / "run/nankeen").rename(host.root / "run/kept")
    (host.root / "run/nankeen").mkdir()
    (host.root / "run/nankeen/cni.sock").symlink_to(host.root / "run/cni.sock")
    assert "an agent answers on " in host.cleanup("--yes").stderr


def test_a_process_that_has_only_got_a_dead_agents_number_hinders_nobody(host: Host) -> None:
    put_status(host, os.getppid())
    assert host.cleanup().returncode == 0
    assert not (host.root / "run/nankeen").exists()


@contextmanager
def flanneld(net: Net, directory: Path) -> Iterator[None]:
    """A process of that name, which has started."""
    program = directory / "flanneld"
    shutil.copy("/bin/cat", program)
    command = ["ip", "netns", "exec", net.name, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"started\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"started\n"
        yield
        process.stdin.close()


def test_while_flanneld_runs_nothing_is_removed(host: Host, tmp_path: Path) -> None:
    leave_devices(host)
    before = host.everything
    with flanneld(host.net, tmp_path):
        done = host.cleanup("--yes")
    assert done.returncode == 2
    assert "flanneld runs, process " in done.stderr
    assert host.everything == before


def test_another_nodes_flanneld_hinders_nobody(host: Host, make_net: Callable[[], Net], tmp_path: Path) -> None:
    with flanneld(make_net(), tmp_path):
        assert host.cleanup().returncode == 0


def attach_pod(host: Host, pod: Net) -> None:
    host.net.run(f"ip link add vethcafe0001 type veth peer name eth0 netns {pod.name}")
    host.net.run("ip link set vethcafe0001 up master cni0")
    pod.run("ip link set eth0 up")
    assert "LOWER_UP" in host.net.run("ip link show vethcafe0001")


def test_pods_are_not_cut_off_where_nobody_can_be_asked(host: Host, make_net: Callable[[], Net]) -> None:
    leave_devices(host)
    attach_pod(host, make_net())
    before = host.everything
    done = host.cleanup()
    assert done.returncode == 2
    assert "pods lose their network, those on vethcafe0001; stop them first, or say --yes" in done.stderr
    assert json.loads(host.cleanup("--json").stdout)["error"]["kind"] == "InputError"
    assert host.everything == before
    assert host.cleanup("--yes", "--json").returncode == 0
    assert "cni0" not in host.net.run("ip link")


def test_at_a_terminal_a_person_is_asked(host: Host, make_net: Callable[[], Net]) -> None:
    leave_devices(host)
    attach_pod(host, make_net())
    for answer, status, left in ((b"n\n", 1, True), (b"y\n", 0, False)):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, answer)
            done = subprocess.run(
                host.command(), check=False, stdin=theirs, capture_output=True, text=True, env=host.environment
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert "pods lose their network, those on vethcafe0001. Remove it all?" in done.stdout
        assert done.returncode == status
        assert ("cni0" in host.net.run("ip link")) is left


@pytest.mark.parametrize("chain, status", [("administrator", 0), ("FLANNEL-FWD", 1)])
def test_a_table_that_iptables_cannot_read_matters_only_where_a_chain_of_theirs_is_in_it(
    net: Net, tmp_path: Path, chain: str, status: int
) -> None:
    net.run("nft add table ip filter")
    net.run("nft add chain ip filter FORWARD { type filter hook forward priority filter ; }")
    net.run("nft add rule ip filter FORWARD ct state established accept")
    net.run(f"nft add chain ip filter {chain}")
    done = Host(net, tmp_path).cleanup()
    assert done.returncode == status
    told = "remains: iptables-nft -t filter: table filter of IPv4 cannot be read by iptables"
    assert (told in done.stdout) is bool(status)
    assert chain in net.run("nft list ruleset")


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    path.mkdir(parents=True, exist_ok=True)
    syscalls.mount("tmpfs", str(path), "tmpfs")
    try:
        yield
    finally:
        syscalls.umount(str(path))


def test_what_cannot_be_removed_is_told_of_and_stops_nothing_else(host: Host) -> None:
    leave_devices(host)
    leave_files(host)
    with mounted(host.root / "data/flannel/busy"):
        done = host.cleanup()
    assert done.returncode == 1
    assert done.stdout.endswith(f"remains: {host.root}/data/flannel: Device or resource busy\n")
    assert "flannel.1" not in host.net.run("ip link")
    assert not (host.root / "flannel").exists()
    assert host.cleanup().returncode == 0
    assert not (host.root / "data/flannel").exists()


def test_a_directory_that_is_a_mount_point_is_emptied(host: Host) -> None:
    with mounted(host.root / "flannel"):
        leave_files(host)
        assert host.cleanup().returncode == 0
        assert list((host.root / "flannel").iterdir()) == []
        assert "nothing of nankeen or flannel is here" in host.cleanup().stdout


def cni(host: Host, plugin: str, container: str, pod: Net, config: object) -> dict[str, Any]:
    """What a real CNI plugin answers to ADD."""
    environment = {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": container, "CNI_NETNS": f"/run/netns/{pod.name}",
        "CNI_IFNAME": "eth0", "CNI_PATH": str(PLUGINS), "PATH": os.environ["PATH"],
    }  # fmt: skip
    done = subprocess.run(
        ["ip", "netns", "exec", host.net.name, str(PLUGINS / plugin)],
        input=json.dumps(config), text=True, capture_output=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def attach_by_plugins(host: Host, network: str, bridge: str, subnet: str, port: int, pod: Net) -> None:
    """As a runtime does it with flannel's configuration list, where flannel's plugin has been asked by the bridge's."""
    container = f"{network}-pod"
    common = {"cniVersion": "0.3.1", "name": network}
    ipam = {"type": "host-local", "dataDir": str(host.root / "data/networks"), "ranges": [[{"subnet": subnet}]]}
    delegate = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": True, "ipam": ipam}
    result = cni(host, "bridge", container, pod, {**common, **delegate})
    mappings = {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]}
    cni(host, "portmap", container, pod, {**common, "prevResult": result, "snat": True, "runtimeConfig": mappings})
    limits = {"ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000, "egressBurst": 8000}
    cni(host, "bandwidth", container, pod, {**common, "prevResult": result, **limits})
    cached = {"kind": "cniCacheV1", "containerId": container, "networkName": network, "ifName": "eth0"}
    host.put(f"data/results/{network}-{container}-eth0", json.dumps(cached))


def lines_besides(text: str, marks: Sequence[str]) -> list[str]:
    return [line for line in text.splitlines() if not any(mark in line for mark in marks)]


@pytest.mark.skipif(not (PLUGINS / "bandwidth").exists(), reason="the CNI plugins are not installed")
def test_what_real_plugins_left_for_pods_of_the_network_goes_and_that_of_other_networks_stays(
    host: Host, make_net: Callable[[], Net]
) -> None:
    attach_by_plugins(host, "other", "br9", "10.9.1.0/24", 8081, make_net())
    shared = host.net.run("iptables-nft-save")
    (state, _), files = host.everything, host.files
    pods = make_net()
    attach_by_plugins(host, "cbr0", "cni0", "10.244.1.0/24", 8080, pods)
    assert host.net.run("ip link").count("bwp") == 2
    leave_files(host)
    done = host.cleanup("--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert (host.everything[0], host.files) == (state, files)
    changing = ("#", ":")  # comments with the time, and chains with their counters
    assert lines_besides(host.net.run("iptables-nft-save"), changing) == lines_besides(shared, changing)
    assert "CNI-HOSTPORT-DNAT" in done.stdout.partition("notes\n")[2]


def test_the_executable_and_the_list_of_ours_go(host: Host) -> None:
    files = host.files
    install.install_executable(host.root / "bin")
    install.install_conflist(host.root / "conf")
    assert host.cleanup().returncode == 0
    assert host.files == files
