"""A request at the door: what is taken, what is refused and with which code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.config import MAX_INPUT, Ipam, PluginConfig
from nankeen.cni.error import CniError, Code
from nankeen.cni.request import Request, Verb, parse_request, requested_version
from nankeen.cni.version import SUPPORTED

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c0ffee",
    "CNI_NETNS": "/run/netns/pod1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web-0",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG = {"cniVersion": "1.1.0", "name": "cbr0", "type": "nankeen"}


def request_with(config: object = CONFIG, **environment: str) -> Request:
    return parse_request(ENVIRONMENT | environment, json.dumps(config).encode())


def refusal(config: object = CONFIG, **environment: str) -> CniError:
    with pytest.raises(CniError) as caught:
        request_with(config, **environment)
    return caught.value


def test_a_request_has_what_the_runtime_said() -> None:
    request = request_with()
    assert request == Request(
        verb=Verb.ADD,
        container="c0ffee",
        interface="eth0",
        namespace="/run/netns/pod1",
        config=PluginConfig("1.1.0", "cbr0"),
        args={"IgnoreUnknown": "1", "K8S_POD_NAME": "web-0"},
        path=("/opt/cni/bin",),
    )


def test_the_keys_of_flannels_and_our_own_list_are_understood() -> None:
    config = CONFIG | {
        "bridge": "br-pods",
        "mtu": 1400,
        "hairpinMode": True,
        "isDefaultGateway": False,
        "ipam": {"type": "host-local", "dataDir": "/var/lib/pods"},
    }
    assert request_with(config).config == PluginConfig(
        version="1.1.0",
        name="cbr0",
        bridge="br-pods",
        mtu=1400,
        hairpin=True,
        default_gateway=False,
        ipam=Ipam(data_directory=Path("/var/lib/pods")),
    )


def test_keys_are_read_in_any_case_as_go_does() -> None:
    config = {"CNIVERSION": "0.4.0", "Name": "cbr0", "HairpinMode": True, "IPAM": {"DATADIR": "/d"}}
    assert request_with(config).config == PluginConfig(
        "0.4.0", "cbr0", hairpin=True, ipam=Ipam(data_directory=Path("/d"))
    )


def test_a_null_leaves_the_default() -> None:
    config = CONFIG | {"mtu": None, "bridge": None, "ipam": {"dataDir": None}}
    assert request_with(config).config == PluginConfig("1.1.0", "cbr0")


def test_unknown_keys_are_ignored() -> None:
    assert request_with(CONFIG | {"runtimeConfig": {"portMappings": []}, "x": 1}) == request_with()


def test_no_version_means_the_first_one() -> None:
    assert request_with({"name": "cbr0"}).config.version == "0.1.0"


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_supported_version_is_taken(version: str) -> None:
    assert request_with(CONFIG | {"cniVersion": version}).config.version == version


def test_a_deletion_needs_no_namespace() -> None:
    assert request_with(CNI_COMMAND="DEL", CNI_NETNS="").namespace == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"CNI_COMMAND": ""},
        {"CNI_COMMAND": "add"},
        {"CNI_COMMAND": "UPDATE"},
        {"CNI_CONTAINERID": "a" * 201},
        {"CNI_CONTAINERID": ""},
        {"CNI_NETNS": ""},
        {"CNI_IFNAME": ""},
        {"CNI_CONTAINERID": "../../etc"},
        {"CNI_CONTAINERID": "-c0ffee"},
        {"CNI_CONTAINERID": "c0ffee\n"},
        {"CNI_CONTAINERID": "\u0663"},
        {"CNI_IFNAME": "a" * 16},
        {"CNI_IFNAME": "\u00e9" * 8},
        {"CNI_IFNAME": "."},
        {"CNI_IFNAME": ".."},
        {"CNI_IFNAME": "a/b"},
        {"CNI_IFNAME": "a:b"},
        {"CNI_IFNAME": "a b"},
        {"CNI_IFNAME": "a\u00a0b"},
        {"CNI_IFNAME": "eth%d"},
        {"CNI_IFNAME": "eth0\n"},
        {"CNI_ARGS": "K8S_POD_NAME"},
        {"CNI_ARGS": "=web-0"},
        {"CNI_PATH": "bin"},
        {"CNI_PATH": "/opt/cni/bin:/opt/cni/../../tmp"},
    ],
)
def test_a_wrong_variable_is_code_4(environment: dict[str, str]) -> None:
    assert refusal(**environment).code is Code.INVALID_ENVIRONMENT


def test_all_missing_variables_are_named_at_once() -> None:
    assert refusal(CNI_CONTAINERID="", CNI_IFNAME="").message == (
        "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing"
    )


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b'"x"', b"\xff", b"{}" + b" " * MAX_INPUT, b"[" * 100_000])
def test_input_that_is_no_json_object_is_code_6(stdin: bytes) -> None:
    with pytest.raises(CniError) as caught:
        parse_request(ENVIRONMENT, stdin)
    assert caught.value.code is Code.DECODING


@pytest.mark.parametrize("version", ["0.0.9", "2.0.0", "", 1, ["1.1.0"]])
def test_a_version_that_is_not_ours_is_code_1(version: object) -> None:
    assert refusal(CONFIG | {"cniVersion": version}).code is Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "../cbr0"},
        {"name": ".cbr0"},
        {"name": 5},
        {"mtu": 67},
        {"mtu": -1},
        {"mtu": 65_536},
        {"mtu": "1450"},
        {"bridge": "a/b"},
        {"bridge": ""},
        {"hairpinMode": "yes"},
        {"ipam": "host-local"},
        {"ipam": {"dataDir": "relative"}},
        {"ipam": {"dataDir": "/a\0b"}},
    ],
)
def test_a_wrong_configuration_is_code_7(change: dict[str, object]) -> None:
    assert refusal(CONFIG | change).code is Code.INVALID_CONFIG


def test_another_ipam_plugin_is_code_2() -> None:
    assert refusal(CONFIG | {"ipam": {"type": "dhcp"}}).code is Code.UNSUPPORTED_FIELD


def test_an_answer_is_in_the_version_asked_for_or_in_our_newest() -> None:
    assert requested_version(b'{"cniVersion": "0.3.1", "name": 5}') == "0.3.1"
    assert requested_version(b'{"cniVersion": "9.9.9"}') == "1.1.0"
    assert requested_version(b'{"cniVersion": {}}') == "1.1.0"
    assert requested_version(b"no json") == "1.1.0"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=8,
)
KEYS = ["cniVersion", "NAME", "name", "bridge", "mtu", "hairpinMode", "isDefaultGateway", "ipam", "dns", "args"]
CONFIGS = st.dictionaries(st.sampled_from(KEYS), JSON | st.sampled_from(["1.1.0", "cbr0"]), max_size=8)
VARIABLES = st.dictionaries(
    st.sampled_from(list(ENVIRONMENT)), st.sampled_from(list(ENVIRONMENT.values())) | st.text(max_size=20)
)


@given(VARIABLES, CONFIGS.map(lambda config: json.dumps(config).encode()) | st.binary(max_size=50))
def test_whatever_comes_is_a_request_or_a_cni_error(environment: dict[str, str], stdin: bytes) -> None:
    try:
        request = parse_request(ENVIRONMENT | environment, stdin)
    except CniError as error:
        assert json.loads(error.render(requested_version(stdin)))["code"] == error.code  # noqa: PT017  (either is right)
    else:
        assert "/" not in request.container + request.interface + request.config.name
