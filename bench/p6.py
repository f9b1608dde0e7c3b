"""P6: a node that starts and stops many pods at once: 300 concurrent ADDs, then 300 DELs, against Debian's plugins."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.cluster import namespace, wide_lab
from bench.p5 import NODE_LIST, NODE_PLUGINS, PLUGINS, reference_list
from bench.process import ROOT, run
from bench.row import Measure, Reach, Row

_PODS = 300


def _seconds(inside: Sequence[str], config: str, plugins: str, *flags: str) -> float:
    """How long all the ADDs and then all the DELs took together."""
    runtime = (sys.executable, "-m", "bench.runtime", config, plugins, str(_PODS), "--at-once", *flags)
    environment = ("env", f"--chdir={ROOT}", f"PYTHONPATH={ROOT / 'src'}")
    adds, deletions = json.loads(run((*inside, *environment, *runtime)))
    print(f"    {plugins}: {adds:.2f} s for ADD, {deletions:.2f} s for DEL", file=sys.stderr)
    return float(adds + deletions)


@contextmanager
def _reference(*flags: str) -> Iterator[partial[float]]:
    with namespace() as node, tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "reference.conflist")
        config.write_text(json.dumps(reference_list(f"{directory}/addresses", "10.244.0.0/22")))
        yield partial(_seconds, ("ip", "netns", "exec", node), str(config), PLUGINS, *flags)


@contextmanager
def _prepare(*flags: str) -> Iterator[Measure]:
    with _reference(*flags) as chain, wide_lab() as cluster:
        ours = partial(_seconds, cluster.inside("node1"), NODE_LIST, NODE_PLUGINS, *flags)
        yield lambda _: (ours(), chain())


ROWS = (
    Row(
        id="P6",
        what=f"{_PODS} concurrent CNI ADDs, then {_PODS} DELs",
        unit="s",
        against="Debian's bridge, host-local, portmap",
        reach=Reach("≤", 0.25),
        prepare=_prepare,
    ),
    Row(
        id="P6.ports",
        what=f"{_PODS} concurrent ADDs with a host port, DELs",
        unit="s",
        against="Debian's bridge, host-local, portmap",
        reach=Reach("≤", 0.25),
        prepare=partial(_prepare, "--ports"),
    ),
)
