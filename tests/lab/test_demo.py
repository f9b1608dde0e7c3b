"""`nankeen demo`, from beginning to end, and cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nankeen
from nankeen.lab import labs

DEMO = [sys.executable, "-m", "nankeen", "demo"]
SOURCE = Path(nankeen.__file__).parents[1]
NOBODY = 65534
STEPS = [
    "1. Container route  on pod1",
    "2. Host route  on node1",
    "3. VXLAN encapsulation  on node1",
    "4. Second encapsulation  on node1",
    "5. UDP to the peer  on node1",
    "6. Decapsulation and delivery  on node2",
]


def left_over(name: str) -> list[str]:
    """What is there of a lab: its record, and the names of its namespaces."""
    named = [*Path("/run/netns").glob(f"{name}-node*"), *Path("/run/netns").glob(f"{name}-pod*")]
    return [lab.name for lab in labs() if lab.name == name] + [path.name for path in named]


def steps_told(text: str) -> list[str]:
    """The titles of the steps, as they are printed."""
    return [line.strip("├─ ") for line in text.splitlines() if line.strip("├─ ") in STEPS]


def test_the_demonstration_proves_the_model_tells_the_six_steps_and_leaves_nothing() -> None:
    done = subprocess.run(DEMO, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "The pod network model holds: 534 proofs" in done.stdout
    assert steps_told(done.stdout) == STEPS
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in done.stdout
    assert "└─ ✓ Delivered to 10.244.2.2 on pod2, and so it was" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "\x1b" not in done.stdout
    name = done.stdout.split("building lab ", 1)[1].partition(":")[0]
    assert left_over(name) == []


def test_programs_get_the_same_as_one_document() -> None:
    done = subprocess.run([*DEMO, "--json"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["holds"]
    steps = found["walk"]["there"]["steps"]
    assert [f"{number}. {step['title']}  on {step['host']}" for number, step in enumerate(steps, 1)] == STEPS
    assert found["walk"]["there"]["proof"]["holds"]


@pytest.mark.parametrize("kind, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["agents: ", "every pod and node talks to every pod"])
def test_a_demonstration_that_is_cut_short_leaves_nothing(kind: signal.Signals, status: int, moment: str) -> None:
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        name = process.stdout.readline().split("building lab ", 1)[1].partition(":")[0]
        while moment not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(kind)
        _, errors = process.communicate()
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert left_over(name) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_an_ordinary_user_is_shown_the_same() -> None:
    def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env={**os.environ, "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(SOURCE)},
        )

    if as_nobody(sys.executable, "-c", "import nankeen.cli.demo").returncode != 0:
        pytest.skip("the checkout or its Python cannot be read by other users")
    done = as_nobody(*DEMO)
    assert done.returncode == 0, done.stderr
    assert "The pod network model holds: 534 proofs" in done.stdout
    assert steps_told(done.stdout) == STEPS
