"""The program `flanneld`, as a unit of flannel's would start it, with leases in a real etcd."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.unit.registry.etcdserver import EtcdServer, running

if TYPE_CHECKING:
    from tests.kernel.agent.conftest import Node

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
PEER = '{"PublicIP":"192.168.0.12","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}}'  # fmt: skip  # noqa: E501


@pytest.fixture
def etcd(node: Node) -> Iterator[EtcdServer]:
    """On the node, with a flannel node's lease in it."""
    server = EtcdServer(node.directory / "etcd", command=("ip", "netns", "exec", node.net.name))
    with running(server):
        server.put("/x/config", CONFIG)
        server.put("/x/subnets/10.5.9.0-24", PEER, server.grant(86400))
        yield server


@pytest.fixture
def flanneld(node: Node, etcd: EtcdServer) -> Node:
    """The program as an installer makes it, with flags in each of Go's forms."""
    program = node.directory / "flanneld"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom nankeen.cli.flanneld import main\nsys.exit(main())\n")
    program.chmod(0o755)
    node.program = (str(program), f"-etcd-endpoints={etcd.endpoint}", "--etcd-prefix", "/x", "-ip-masq")
    return node


async def test_flanneld_joins_flannels_cluster(flanneld: Node, etcd: EtcdServer) -> None:
    status = await flanneld.start()
    assert (status.backend, status.peers, status.mtu) == ("vxlan", 1, 1450)
    assert "10.5.9.0/24 via 10.5.9.0 onlink" in flanneld.net.run("ip route show dev flannel.1")
    leases = {name: value for name, value in etcd.read("/x/subnets").items() if "10.5.9.0" not in name}
    ((name, value),) = leases.items()
    assert name == f"/x/subnets/{status.subnets[0].replace('/', '-')}"
    assert json.loads(value)["PublicIP"] == "192.168.0.11"
    subnet = status.subnets[0].replace(".0/", ".1/")
    file = flanneld.directory / "flannel/subnet.env"
    assert file.read_text() == (
        f"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o644, 0o755)


async def test_flanneld_keeps_its_subnet_over_a_restart(flanneld: Node) -> None:
    first = await flanneld.start()
    assert await flanneld.stop() == 0
    assert (await flanneld.start()).subnets == first.subnets
