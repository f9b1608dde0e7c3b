"""`nankeen verify` on a real lab: agents, CNI and all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

NAME = f"verify-{os.getpid()}"


def nankeen(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "nankeen", *words], check=False, capture_output=True, text=True)


def verify(*words: str) -> tuple[int, dict[str, Any]]:
    done = nankeen("verify", "--name", NAME, "--json", *words)
    return done.returncode, json.loads(done.stdout)


def in_lab(member: str, *command: str) -> None:
    done = nankeen("lab", "exec", "--name", NAME, member, "--", *command)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[None]:
    """Two nodes and three pods, in both families."""
    made = nankeen("lab", "up", "--name", NAME, "--nodes", "2", "--pods", "3", "--family", "dual")
    try:
        assert made.returncode == 0, made.stderr
        yield
    finally:
        nankeen("lab", "down", "--name", NAME)


def test_the_model_holds_on_a_lab_in_both_families() -> None:
    status, found = verify()
    assert found["findings"] == []
    assert found["holds"]
    assert status == 0
    pods = [check for check in found["checks"] if (check["rule"], check["relation"]) == ("reach", "pod → pod")]
    assert {(check["family"], check["protocol"], check["proven"]) for check in pods} == {
        (family, protocol, 6) for family in ("IPv4", "IPv6") for protocol in ("ICMP", "UDP", "TCP")
    }


def test_people_are_shown_a_table_and_the_verdict() -> None:
    done = nankeen("verify", "--name", NAME)
    assert done.returncode == 0, done.stderr
    assert "✓  every pod reaches every other pod" in done.stdout
    assert "The pod network model holds" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_sample_proves_less_in_the_same_way() -> None:
    status, found = verify("--sample", "1")
    assert (status, found["holds"]) == (0, True)
    pods = [check for check in found["checks"] if (check["rule"], check["relation"]) == ("reach", "pod → pod")]
    assert {check["proven"] for check in pods} == {3}
    covered = found["coverage"]
    assert (covered["asking"], covered["asked"], covered["nodes"]) == (2, 2, 2)
    assert covered["pairs"] < covered["all_pairs"] == 2 * (6 + 6 + 6)


def test_a_seed_draws_the_same_sample_and_people_are_told_what_it_covers() -> None:
    done = nankeen("verify", "--name", NAME, "--sample", "1", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert "--seed 7 draws it again." in " ".join(done.stdout.split())


def test_only_what_named_parties_ask_each_other_is_proven() -> None:
    status, found = verify("--from", "pod1", "--from", "node2", "--to", "pod2")
    assert (status, found["holds"]) == (0, True)
    proven = {(check["rule"], check["relation"]): check["proven"] for check in found["checks"]}
    assert proven["address", "pod"] == 2
    assert proven["reach", "pod → pod"] == proven["reach", "node → pod"] == 1
    assert ("reach", "pod → node") not in proven


def test_a_masquerade_makes_it_fail_with_pair_check_and_what_was_seen() -> None:
    in_lab("node1", "nft", "add table ip t; add chain ip t c { type nat hook postrouting priority 0; }")
    try:
        in_lab("node1", "nft", "add rule ip t c ip saddr 10.244.1.2 oifname flannel.1 masquerade")
        status, found = verify()
    finally:
        in_lab("node1", "nft", "delete table ip t")
    assert status == 1
    assert not found["holds"]
    assert {(finding["rule"], finding["source"], finding["destination"]) for finding in found["findings"]} == {
        ("source", "pod1", "pod2")
    }
    assert {finding["seen"] for finding in found["findings"]} == {"pod2 saw 10.244.1.0, the address of node1"}


def test_a_pod_that_lost_its_address_is_named() -> None:
    in_lab("pod3", "ip", "address", "flush", "dev", "eth0", "scope", "global")
    try:
        done = nankeen("verify", "--name", NAME)
    finally:
        nankeen("lab", "pod", "del", "--name", NAME, "pod3")
    assert done.returncode == 1
    assert "✗ pod3, IPv4" in done.stdout
    assert "its devices hold none, though it was given 10.244.1.3" in " ".join(done.stdout.split())


def test_a_lab_that_is_not_there_is_an_error() -> None:
    done = nankeen("verify", "--name", "no-such-lab")
    assert done.returncode == 1
    assert done.stderr.startswith("nankeen: lab no-such-lab: there is no such lab")


def test_a_sample_of_nothing_is_a_wrong_request() -> None:
    assert nankeen("verify", "--name", NAME, "--sample", "0").returncode == 2
