"""A lab's record: what is written is read again, and what is broken is told, not guessed at."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from nankeen.lab import labfile, places, record
from nankeen.lab.lab import Lab, LabContainer, LabPod
from nankeen.lab.planned import planned
from nankeen.lab.process import Process
from nankeen.model.address import Family
from nankeen.model.errors import LabError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(places, "home", lambda: tmp_path)
    return tmp_path


def made(home: Path, name: str = "lab") -> Lab:
    """A lab on record, as if it had been built: its supervisor is this process."""
    network = labfile.default_network(Family, "vxlan")
    directory = home / name
    directory.mkdir()
    lab = planned(labfile.from_flags(name, 2, 1, network, "sqlite"), directory, rootless=True)
    pod = replace(
        lab.pods[0],
        sandbox="c0ffee",
        addresses=(ip_interface("10.244.1.2/24"), ip_interface("fd00:10:244:1::2/64")),
        containers=(LabContainer("c1", 7, 8080),),
        result='{"ips": []}',
    )
    lab = replace(lab.with_pod(pod), phase="ready", supervisor=Process.of(os.getpid()))
    record.save(lab)
    return lab


def test_what_is_written_is_read_again(home: Path) -> None:
    lab = made(home)
    assert record.find_lab("lab") == lab
    assert record.labs() == [lab]


def test_a_lab_that_never_was_is_not_found(home: Path) -> None:
    with pytest.raises(LabError, match="there is no such lab"):
        record.find_lab(home.name)


def test_a_lab_whose_supervisor_is_gone_is_dead(home: Path) -> None:
    lab = made(home)
    child = os.fork()
    if child == 0:
        os._exit(0)
    gone = replace(lab, supervisor=Process.of(child))
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert gone.state == "dead"
    os.waitpid(child, 0)
    record.save(gone)
    assert gone.state == "dead"
    with pytest.raises(LabError, match="lab down"):
        record.find_lab("lab")


def test_a_process_that_got_the_number_of_the_supervisor_is_not_taken_for_it(home: Path) -> None:
    lab = made(home)
    mine = Process.of(os.getpid())
    assert mine.is_alive
    assert replace(lab, supervisor=replace(mine, started=mine.started - 1)).state == "dead"


def test_a_lab_that_is_being_built_cannot_be_used_yet(home: Path) -> None:
    record.save(replace(made(home), phase="building"))
    with pytest.raises(LabError, match="still being built"):
        record.find_lab("lab")


def test_a_directory_without_a_record_is_a_dead_lab_so_that_it_can_be_taken_down(home: Path) -> None:
    (home / "half").mkdir()
    assert [(lab.name, lab.state, lab.members) for lab in record.labs()] == [("half", "dead", ())]


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"name": 1}', '{"nodes": 7}'])
def test_a_broken_record_is_told_with_its_file(home: Path, text: str) -> None:
    made(home)
    (home / "lab" / places.RECORD).write_text(text)
    with pytest.raises(LabError, match=r"lab\.json"):
        record.load("lab")


def test_a_member_is_found_by_its_name_and_a_node_is_no_pod(home: Path) -> None:
    lab = made(home)
    assert lab.pod("pod1").node == "node1"
    assert lab.member("sw1").name == "sw1"
    with pytest.raises(LabError, match="there is no 'pod9'"):
        lab.member("pod9")
    with pytest.raises(LabError, match="'node1' is no pod"):
        lab.pod("node1")


def test_everything_that_will_have_a_name_is_on_record_before_it_is_made(home: Path) -> None:
    (home / "new").mkdir()
    network = labfile.default_network([Family.IPV4], "vxlan")
    lab = planned(labfile.from_flags("new", 2, 1, network, "sqlite"), home / "new", rootless=False)
    names = [member.namespaces.network.name for member in lab.members]
    assert names == ["new-sw1", "new-node1", "new-node2", "new-pod1"]


def test_the_record_is_json_that_others_can_read(home: Path) -> None:
    made(home)
    fields = json.loads((home / "lab" / places.RECORD).read_text())
    assert fields["pods"][0]["addresses"] == ["10.244.1.2/24", "fd00:10:244:1::2/64"]
    assert fields["nodes"][0]["namespaces"]["network"] == "/run/netns/lab-node1"


def test_a_home_that_others_can_enter_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = home / "labs"
    monkeypatch.setattr(places, "home", lambda: place)
    assert places.prepare_home() == place
    place.chmod(0o755)
    with pytest.raises(LabError, match="not ours alone"):
        places.prepare_home()


def test_a_home_that_is_a_symbolic_link_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "elsewhere").mkdir(mode=0o700)
    (home / "labs").symlink_to(home / "elsewhere")
    monkeypatch.setattr(places, "home", lambda: home / "labs")
    with pytest.raises(LabError, match="not ours alone"):
        places.prepare_home()


def test_a_lab_changes_by_pods_that_come_and_go(home: Path) -> None:
    lab = made(home)
    more = lab.with_pod(LabPod("pod2", "node2", lab.pods[0].namespaces, sandbox="x"))
    assert [pod.name for pod in more.pods] == ["pod1", "pod2"]
    assert more.without_pod("pod1").pods == more.pods[1:]
