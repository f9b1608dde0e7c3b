"""The files that nankeen, flannel and the CNI plugins leave, told from those of others."""

from __future__ import annotations

import json
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from nankeen.agent import lastknown
from nankeen.agent.lastknown import Remembered
from nankeen.agent.traces import Places, Traces, find
from nankeen.cni import install
from nankeen.model.errors import InputError
from nankeen.model.netconf import NetworkConfig
from nankeen.pods.bandwidth import ifb_name
from nankeen.registry import Snapshot
from nankeen.registry.sqlite import create

FLANNELS_CONFLIST = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
BRIDGES_CONFLIST = {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "bridge"}]}
FLANNELS_MODULE = b"\x7fELF...\0github.com/flannel-io/cni-plugin\0..."


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A node's directories, which stand and are empty."""
    found = Places(
        tmp_path / "opt/cni/bin", tmp_path / "etc/cni/net.d", tmp_path / "var/lib/cni",
        tmp_path / "run/flannel", tmp_path / "run/nankeen", tmp_path / "var/lib/nankeen",
    )  # fmt: skip
    for path in (found.cni_bin, found.cni_conf, found.cni_data):
        path.mkdir(parents=True)
    return found


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def notes(traces: Traces) -> dict[str, str]:
    return {Path(note.what).name: note.why for note in traces.notes}


def test_where_nothing_is_nothing_is_found(places: Places) -> None:
    assert find(places) == Traces()


def test_the_directories_of_the_agent_and_of_flannel_go_whole(places: Places) -> None:
    wanted = [places.state, places.cni_data / "flannel", places.cni_data / "networks/cbr0", places.run, places.flannel]
    for directory in (*wanted, places.cni_data / "networks/other"):
        directory.mkdir(parents=True)
    assert find(places).files == tuple(wanted)


def test_what_is_told_to_be_removed_whole_must_have_the_name_of_such_a_directory() -> None:
    for name in ("flannel", "run", "state"):
        assert name in {field.name for field in fields(Places)}
        with pytest.raises(InputError, match="would be removed with all that is in it"):
            Places(**{name: Path("/etc")})


def test_configuration_lists_go_first_and_tell_what_the_network_is_called(places: Places) -> None:
    flannels = put(places.cni_conf / "10-flannel.conflist", {**FLANNELS_CONFLIST, "name": "pods"})
    ours = install.install_conflist(places.cni_conf)
    put(places.cni_conf / "87-podman.conflist", FLANNELS_CONFLIST)
    addresses = put(places.cni_data / "networks/pods/10.244.1.2", b"id\r\neth0").parent
    traces = find(places)
    assert traces.invitations == (flannels, ours)
    assert traces.names == {"cbr0", "pods"}
    assert traces.files == (addresses,)


def test_a_networks_name_that_is_a_path_leads_nowhere(places: Places) -> None:
    put(places.cni_conf / "10-flannel.conflist", {**FLANNELS_CONFLIST, "name": "../../.."})
    (places.cni_data / "networks").mkdir()
    assert find(places).names == {"cbr0"}
    assert find(places).files == ()


@pytest.mark.parametrize(
    "content, why",
    [
        (BRIDGES_CONFLIST, "stays: none of its plugins is flannel's or ours"),
        (b"{", "stays: it is no network configuration list"),
        (b"\xff", "stays: it is no network configuration list"),
        ([], "stays: it is no network configuration list"),
        ({"plugins": ["flannel"]}, "stays: it is no network configuration list"),
    ],
)
def test_a_list_of_the_same_name_with_something_else_in_it_stays(places: Places, content: object, why: str) -> None:
    put(places.cni_conf / "10-flannel.conflist", content)
    traces = find(places)
    assert traces.invitations == ()
    assert notes(traces)["10-flannel.conflist"].startswith(why)


def test_the_client_is_known_as_installed(places: Places) -> None:
    installed = install.install_executable(places.cni_bin, install.python_executable("/elsewhere/cni.sock"))
    assert find(places).invitations == (installed,)


def test_flannels_plugin_is_known_by_the_module_it_was_built_from(places: Places) -> None:
    plugin = put(places.cni_bin / "flannel", FLANNELS_MODULE)
    assert find(places).invitations == (plugin,)


@pytest.mark.parametrize("name", ["flannel", "nankeen"])
@pytest.mark.parametrize("content", [b"", b"\x7fELF..."])
def test_an_executable_of_the_same_name_that_is_something_else_stays(places: Places, name: str, content: bytes) -> None:
    put(places.cni_bin / name, content)
    traces = find(places)
    assert traces.invitations == ()
    assert notes(traces) == {name: f"stays: it does not look like the plugin {name}"}


def test_the_client_in_the_place_of_other_plugins_goes_and_those_plugins_stay(places: Places) -> None:
    client = install.python_executable()
    ours = install.install_executable(places.cni_bin, client, names=["bandwidth", "flannel"])
    put(places.cni_bin / "portmap", b"\x7fELF...")
    traces = find(places)
    assert set(traces.invitations) == {ours, ours.with_name("bandwidth"), ours.with_name("flannel")}
    assert traces.notes == ()


def cached(network: str, container: str) -> dict[str, str]:
    """As libcni caches a result."""
    return {"kind": "cniCacheV1", "containerId": container, "networkName": network, "ifName": "eth0"}


def test_cached_results_go_by_the_network_that_they_say(places: Places) -> None:
    results = places.cni_data / "results"
    ours = put(results / "cbr0-a-eth0", cached("cbr0", "a"))
    put(results / "cbr0-b-c-eth0", cached("cbr0-b", "c"))
    put(results / "cbr0-b-e-net1", {**cached("cbr0-b", "e"), "ifName": "net1"})
    put(results / "cbr0-d-eth0", b"torn")
    traces = find(places)
    assert traces.files == (ours,)
    assert traces.foreign_ifbs == {
        ifb_name("cbr0-b", "c"),
        ifb_name("cbr0-b", "e"),  # as the reference plugin calls it
        ifb_name("cbr0-b", "e", "net1"),
    }


def test_a_registry_stays_with_its_journals_and_all_beside_it_goes(places: Places) -> None:
    places.state.mkdir(parents=True)
    create(places.state / "registry.db", '{"Network":"10.244.0.0/16"}')
    put(places.state / "registry.db-wal", b"")
    key = put(places.state / "wireguard.key", b"key")
    traces = find(places)
    assert traces.files == (key,)
    assert notes(traces) == {"registry.db": "stays: a registry, in which are other nodes' leases, too"}


def test_the_pod_network_is_told_by_what_flannel_and_the_agent_wrote(places: Places) -> None:
    put(places.flannel / "subnet.env", b"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n")
    config = NetworkConfig.parse('{"Network":"10.9.0.0/16","IPv6Network":"fd44::/48","EnableIPv6":true}', "test")
    lastknown.save(places.leases, Remembered(Snapshot(config, {}, 1), (config.backend,)))
    networks = tuple(ip_network(text) for text in ("10.9.0.0/16", "10.244.0.0/16", "fd44::/48"))
    assert find(places).networks == networks


def test_a_file_that_cannot_be_understood_is_told_of_and_goes_with_its_directory(places: Places) -> None:
    put(places.leases, b"torn")
    traces = find(places)
    assert traces.files == (places.state,)
    assert notes(traces)["leases.json"].startswith("does not tell the pod network: ")


def test_of_a_symbolic_link_the_link_alone_is_ours(places: Places, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    places.run.parent.mkdir(parents=True)
    places.run.symlink_to(tmp_path / "elsewhere")
    assert find(places).files == (places.run,)
