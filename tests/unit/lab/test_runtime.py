"""What a container runtime does with CNI, held against plugins that note what they are asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nankeen.lab import runtime
from nankeen.lab.lab import LabPod, Namespaces
from nankeen.lab.runtime import NetworkList
from nankeen.model.errors import LabError

POD = LabPod("pod1", "node1", Namespaces(Path("/run/netns/lab-pod1")), sandbox="c0ffee")

PLUGIN = """#!/bin/sh
cat >> "{notes}/$CNI_COMMAND-{name}"
env | grep ^CNI_ | sort > "{notes}/env-{name}"
echo {name} >> "{notes}/order"
{body}
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runtime, "PLUGIN_DIRECTORY", tmp_path)
    return tmp_path


def install(directory: Path, name: str, body: str) -> None:
    path = directory / name
    path.write_text(PLUGIN.format(notes=directory, name=name, body=body))
    path.chmod(0o755)


def chain(*types: str) -> NetworkList:
    return NetworkList("cbr0", "1.0.0", tuple({"type": name, "mtu": 1450} for name in types))


def asked(directory: Path, note: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / note).read_text())
    return document


def test_each_plugin_gets_the_result_of_the_one_before(plugins: Path) -> None:
    install(plugins, "first", """echo '{"ips": [{"address": "10.244.1.2/24"}]}'""")
    install(plugins, "second", """echo '{"ips": [{"address": "10.244.1.9/24"}]}'""")
    result = runtime.attach(chain("first", "second"), POD)
    assert runtime.addresses(result) == ["10.244.1.9/24"]
    assert asked(plugins, "ADD-first") == {"type": "first", "mtu": 1450, "cniVersion": "1.0.0", "name": "cbr0"}
    assert asked(plugins, "ADD-second")["prevResult"] == {"ips": [{"address": "10.244.1.2/24"}]}


def test_del_goes_through_the_chain_backwards_with_the_last_result(plugins: Path) -> None:
    install(plugins, "first", "")
    install(plugins, "second", "")
    pod = LabPod("pod1", "node1", POD.namespaces, sandbox="c0ffee", result='{"ips": []}')
    runtime.detach(chain("first", "second"), pod)
    assert (plugins / "order").read_text().split() == ["second", "first"]
    assert asked(plugins, "DEL-first")["prevResult"] == {"ips": []}


def test_a_plugin_is_told_of_the_pod_by_its_environment(plugins: Path) -> None:
    install(plugins, "first", "echo '{}'")
    runtime.attach(chain("first"), POD)
    told = dict(line.split("=", 1) for line in (plugins / "env-first").read_text().splitlines())
    assert told.pop("CNI_ARGS").split(";")[1:] == [
        "K8S_POD_NAMESPACE=default",
        "K8S_POD_NAME=pod1",
        "K8S_POD_INFRA_CONTAINER_ID=c0ffee",
    ]
    assert told == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c0ffee",
        "CNI_NETNS": "/run/netns/lab-pod1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(plugins),
    }


@pytest.mark.parametrize(
    "body, words",
    [
        ("""echo '{"code": 11, "msg": "try again", "details": "no lease"}'; exit 1""", "try again: no lease"),
        ("""echo '{"code": 7, "msg": "bad config"}'; exit 1""", "bad config"),
        ("echo segmentation fault >&2; exit 139", "segmentation fault"),
        ("exit 1", "failed without a word"),
    ],
)
def test_what_a_plugin_complains_of_is_passed_on(plugins: Path, body: str, words: str) -> None:
    install(plugins, "first", body)
    with pytest.raises(LabError) as caught:
        runtime.attach(chain("first"), POD)
    assert caught.value.problem == words
    assert "ADD of pod1" in caught.value.where


def test_a_plugin_that_is_not_there_is_told(plugins: Path) -> None:
    with pytest.raises(LabError, match="cannot be executed"):
        runtime.attach(chain("missing"), POD)
    assert not (plugins / "order").exists()


def test_the_first_list_by_name_is_taken(tmp_path: Path) -> None:
    assert runtime.find_network(tmp_path) is None
    for name in ("20-b", "10-a"):
        plugin = {"type": "first"}
        (tmp_path / f"{name}.conflist").write_text(
            json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [plugin]})
        )
    found = runtime.find_network(tmp_path)
    assert found is not None
    assert found.name == "10-a"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": "a", "cniVersion": "1.0.0", "plugins": 3}'])
def test_a_broken_list_is_told_with_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "10-a.conflist"
    path.write_text(text)
    with pytest.raises(LabError, match=r"10-a\.conflist"):
        runtime.find_network(tmp_path)


def test_a_plugin_is_asked_for_what_it_is_capable_of(plugins: Path) -> None:
    install(plugins, "first", "echo '{}'")
    network = NetworkList("cbr0", "1.0.0", ({"type": "first", "capabilities": {"portMappings": True}},))
    runtime.attach(network, replace(POD, asked='{"portMappings": []}'))
    assert asked(plugins, "ADD-first")["runtimeConfig"] == {"portMappings": []}


def test_what_no_plugin_of_the_chain_is_capable_of_is_refused(plugins: Path) -> None:
    install(plugins, "first", "echo '{}'")
    with pytest.raises(LabError, match="no plugin of its chain has the capability bandwidth"):
        runtime.attach(chain("first"), replace(POD, asked='{"bandwidth": {}}'))
    assert not (plugins / "order").exists()
