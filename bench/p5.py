"""P5: how long a runtime waits for the network of a new pod: CNI ADD, whole executables, against Debian's plugins."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.cluster import lab, namespace
from bench.process import ROOT, run
from bench.row import Measure, Reach, Row

_PODS = 20
"""ADDs in one round, of which the median is the round's value."""

PLUGINS = "/usr/lib/cni"
"""Where Debian's containernetworking-plugins are."""

NODE_LIST = "/etc/cni/net.d/10-nankeen.conflist"
NODE_PLUGINS = "/opt/cni/bin"


def reference_list(data: str, subnet: str = "10.244.1.0/24") -> dict[str, Any]:
    """The list that flannel's plugin makes of a subnet: a bridge with host-local addresses, then host ports."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "mtu": 1450,
        "ipam": {"type": "host-local", "dataDir": data, "ranges": [[{"subnet": subnet}]]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "cbr0", "plugins": [bridge, ports]}


def _median_add(inside: Sequence[str], config: str, plugins: str, *flags: str) -> float:
    runtime = (sys.executable, "-m", "bench.runtime", config, plugins, str(_PODS), *flags)
    environment = ("env", f"--chdir={ROOT}", f"PYTHONPATH={ROOT / 'src'}")
    durations: list[float] = json.loads(run((*inside, *environment, *runtime)))
    return statistics.median(durations)


@contextmanager
def reference(*, ports: bool) -> Iterator[partial[float]]:
    """Measures the chain of Debian's plugins in a node's network namespace of its own."""
    with namespace() as node, tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "reference.conflist")
        config.write_text(json.dumps(reference_list(f"{directory}/addresses")))
        inside = ("ip", "netns", "exec", node)
        yield partial(_median_add, inside, str(config), PLUGINS, *(["--ports"] if ports else []))


@contextmanager
def _prepare(*, ports: bool) -> Iterator[Measure]:
    flags = ["--ports"] if ports else []
    with reference(ports=ports) as chain, lab(nodes=1, pods=0) as cluster:
        ours = partial(_median_add, cluster.inside("node1"), NODE_LIST, NODE_PLUGINS, *flags)
        yield lambda _: (ours(), chain())


ROWS = (
    Row(
        id="P5",
        what="CNI ADD, whole executable, idle node",
        unit="ms",
        against="Debian's bridge, host-local, portmap",
        reach=Reach("≤", 0.25),
        prepare=partial(_prepare, ports=False),
    ),
    Row(
        id="P5.ports",
        what="CNI ADD with a host port",
        unit="ms",
        against="Debian's bridge, host-local, portmap",
        reach=Reach("≤", 0.25),
        prepare=partial(_prepare, ports=True),
    ),
)
