"""Docker's options, as flannel's script writes them and as daemon.json has them."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model import subnetenv
from nankeen.model.docker import COMBINED, Layout, daemon_json, options, variables
from nankeen.model.errors import InputError

SAMPLE = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"
ENV = subnetenv.parse(SAMPLE)
BIP, MASQ, MTU = ('DOCKER_OPT_BIP="--bip=10.1.74.1/24"\n', 'DOCKER_OPT_IPMASQ="--ip-masq=true"\n',
                  'DOCKER_OPT_MTU="--mtu=1472"\n')  # fmt: skip
ALL = " --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"


@pytest.mark.parametrize(
    "layout, ip_masq, text",
    [
        (Layout(), True, f'{BIP}{MASQ}{MTU}DOCKER_OPTS="{ALL}"\n'),
        (Layout(combined=""), True, f"{BIP}{MASQ}{MTU}"),
        (Layout(individual=False), True, f'DOCKER_OPTS="{ALL}"\n'),
        (Layout(combined="CUSTOM_KEY"), True, f'{BIP}{MASQ}{MTU}CUSTOM_KEY="{ALL}"\n'),
        (Layout(), False, f'{BIP}{MTU}DOCKER_OPTS=" --bip=10.1.74.1/24 --mtu=1472"\n'),
    ],
    ids=["all", "-i", "-c", "-k", "-m"],
)
def test_the_file_is_the_one_that_flannels_script_writes(layout: Layout, *, ip_masq: bool, text: str) -> None:
    assert variables(options(ENV, ip_masq=ip_masq), layout) == text


@pytest.mark.parametrize("ours, dockers", [("true", False), ("false", True)])
def test_docker_masquerades_where_the_agent_does_not(ours: str, *, dockers: bool) -> None:
    assert options(subnetenv.parse(f"{SAMPLE}FLANNEL_IPMASQ={ours}\n"))["ip-masq"] is dockers


def test_options_that_were_there_before_come_first() -> None:
    text = variables(options(ENV), Layout(individual=False), "--debug")
    assert text == f'DOCKER_OPTS="--debug {ALL}"\n'


@given(st.text(max_size=20))
def test_what_was_there_before_never_breaks_out_of_its_quotes(before: str) -> None:
    try:
        text = variables(options(ENV), Layout(individual=False), before)
    except InputError:
        return
    (assignment,) = shlex.split(text)
    assert assignment.removeprefix("DOCKER_OPTS=") == f"{before} {ALL}" if before else ALL


@pytest.mark.parametrize("name", ["A B", "1X", "X=1", 'X"', "X\n", "Ä"])
def test_a_name_that_is_none_of_a_variable_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"write it as {COMBINED}"):
        Layout(combined=name)


@pytest.mark.parametrize("text", ["", "FLANNEL_MTU=1450\n", "FLANNEL_IPV6_SUBNET=fc00:5::1/64\n"])
def test_without_a_subnet_there_is_nothing_to_tell_docker(text: str) -> None:
    with pytest.raises(InputError, match="no IPv4 subnet"):
        options(subnetenv.parse(text))


def test_the_rest_of_daemon_json_stays() -> None:
    wanted = json.loads(daemon_json(options(ENV), '{"bip": "172.17.0.1/16", "log-driver": "journald"}'))
    assert wanted == {"bip": "10.1.74.1/24", "mtu": 1472, "ip-masq": True, "log-driver": "journald"}
    assert list(wanted)[:2] == ["bip", "log-driver"]
    assert json.loads(daemon_json(options(ENV), "")) == {"bip": "10.1.74.1/24", "mtu": 1472, "ip-masq": True}


@pytest.mark.parametrize("text", ["{", "[]", "null", "bip: 1"])
def test_a_daemon_json_that_is_none_is_left_alone(text: str) -> None:
    with pytest.raises(InputError, match="correct it by hand"):
        daemon_json(options(ENV), text)
