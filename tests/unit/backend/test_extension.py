from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.backend import open_backend
from nankeen.backend.admission import admit
from nankeen.backend.extension import ExtensionBackend
from nankeen.model.errors import ConfigError
from nankeen.model.gojson import JSON, compact
from nankeen.model.hook import Command, Hook
from nankeen.model.lease import Endpoint, Lease
from nankeen.model.netconf import BackendConfig
from nankeen.model.state import State
from tests.unit.backend import fabric
from tests.unit.backend.fabric import IPV4, IPV6, node

DUAL = (str(IPV4), str(IPV6))


def extension(**options: JSON) -> ExtensionBackend:
    backend = open_backend(BackendConfig("extension", options))
    assert isinstance(backend, ExtensionBackend)
    return backend


def endpoint(number: int, data: str | None = None) -> Endpoint:
    return fabric.endpoint(number, data=data)


def endpoint6(number: int) -> Endpoint:
    found = fabric.endpoint6(number)
    return replace(found, reach=replace(found.reach, data=None))


def lease(number: int, *endpoints: Endpoint) -> Lease:
    return fabric.lease(number, *(endpoints or (endpoint(number),)), backend="extension")


def hook(backend: ExtensionBackend, peer: Lease, *networks: str) -> Hook:
    (found,) = backend.peer(node(*networks), peer)
    assert isinstance(found, Hook)
    return found


def added(command: str, peer: Lease, *networks: str) -> Command:
    found = hook(extension(SubnetAddCommand=command), peer, *networks).add
    assert found is not None
    return found


def test_a_command_is_its_words_with_the_variables_of_the_peer() -> None:
    command = added("ip  route add\t$SUBNET via ${PUBLIC_IP}", lease(2))
    assert command.arguments == ("ip", "route", "add", "10.5.2.0/24", "via", "10.99.0.2")
    assert command.environment == {
        "SUBNET": "10.5.2.0/24", "IPV6SUBNET": "", "PUBLIC_IP": "10.99.0.2", "PUBLIC_IPV6": "",
    }  # fmt: skip


def test_the_variables_of_ipv6_are_given_too() -> None:
    command = added("add ${IPV6SUBNET}@$PUBLIC_IPV6", lease(2, endpoint(2), endpoint6(2)), *DUAL)
    assert command.arguments == ("add", "fc00:5:0:2::/64@fd99::2")
    assert command.environment["SUBNET"] == "10.5.2.0/24"


def test_a_variable_without_a_value_leaves_its_word_empty_and_never_out() -> None:
    assert added("add $IPV6SUBNET end", lease(2)).arguments == ("add", "", "end")


@pytest.mark.parametrize("told", ["; rm -rf /", "$(reboot)", "`reboot`", "a b\nc", "$SUBNET", "-h", "é\0"])
def test_what_a_peer_tells_goes_to_standard_input_and_nowhere_else(told: str) -> None:
    command = added("add $SUBNET", lease(2, endpoint(2, compact(told))))
    assert command.input == f"{told}\n"
    assert command.arguments == ("add", "10.5.2.0/24")
    assert set(command.environment.values()) == {"10.5.2.0/24", "10.99.0.2", ""}


def test_what_a_shell_would_do_something_with_is_a_word_like_any_other() -> None:
    assert added("a;b && 'c d' | e > f", lease(2)).arguments == ("a;b", "&&", "'c", "d'", "|", "e", ">", "f")


@pytest.mark.parametrize("data", [None, "null", '""'])
def test_a_peer_that_tells_nothing_gives_an_empty_line(data: str | None) -> None:
    assert added("add", lease(2, endpoint(2, data))).input == "\n"


@pytest.mark.parametrize("data", ["{}", "7", '["x"]'])
def test_a_peer_whose_data_is_no_string_is_refused_alone(data: str) -> None:
    decided = admit((extension(SubnetAddCommand="add"),), node(), [lease(2), lease(3, endpoint(3, data))])
    assert list(decided.rejected) == ["node3"]
    assert "its backend data is no string" in decided.rejected["node3"]


def test_a_peer_is_one_hook_with_both_its_commands() -> None:
    backend = extension(SubnetAddCommand="add $SUBNET", SubnetRemoveCommand="remove $SUBNET")
    found = hook(backend, lease(2))
    assert (found.peer, str(found.add), str(found.remove)) == ("node2", "add 10.5.2.0/24", "remove 10.5.2.0/24")
    assert list(backend.state(node(), [lease(2)])) == [found]


def test_without_commands_peers_are_nothing_to_do() -> None:
    assert extension().state(node(), [lease(2)]) == State()
    assert extension().pre_startup is None
    assert extension().post_startup(node()) is None


def test_a_node_tells_what_its_first_command_printed_with_its_first_family() -> None:
    here = replace(node(*DUAL), announcement='12:34 "quoted" <&>')
    ipv4, ipv6 = extension(PreStartupCommand="tell").reaches(here)
    assert (ipv4.data, ipv6.data) == ('"12:34 \\"quoted\\" \\u003c\\u0026\\u003e"', None)
    assert [reach.data for reach in extension().reaches(node())] == [None]
    assert extension(PreStartupCommand="tell me").pre_startup == Command(("tell", "me"))


def test_the_last_command_of_a_start_has_the_nodes_variables() -> None:
    command = extension(PostStartupCommand="up $NETWORK $SUBNET $IPV6SUBNET $PUBLIC_IP $PUBLIC_IPV6").post_startup(
        node(*DUAL)
    )
    assert command is not None
    assert command.arguments == ("up", "10.5.0.0/16", "10.5.1.0/24", "fc00:5:0:1::/64", "10.99.0.1", "fd99::1")
    assert command.environment["NETWORK"] == "10.5.0.0/16"


@pytest.mark.parametrize(
    "option, command, told",
    [
        ("SubnetAddCommand", "a $NETWORK", r"nobody sets \$NETWORK: its variables are SUBNET, IPV6SUBNET, PUBLIC_IP"),
        ("PreStartupCommand", "a ${SUBNET}", r"nobody sets \$SUBNET: it has no variables"),
        ("PostStartupCommand", "a $1", r"nobody sets \$1"),
        ("SubnetRemoveCommand", "a\0b", "no program takes an argument with a NUL"),
        ("SubnetRemoveCommand", 7, "it must be a string"),
    ],
)
def test_a_command_that_cannot_mean_what_it_says_is_refused(option: str, command: JSON, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        extension(**{option: command})


@given(st.text(st.characters(exclude_characters="$\0", exclude_categories=["Cs"])), st.text())
def test_law_a_command_has_as_many_arguments_as_words_whatever_a_peer_tells(command: str, told: str) -> None:
    words = [*command.split(), "$SUBNET", "x${PUBLIC_IP}y"]
    try:
        peer = lease(2, endpoint(2, compact(told)))
    except UnicodeEncodeError:
        return
    found = added(f"{command} $SUBNET x${{PUBLIC_IP}}y", peer)
    assert found.arguments == (*words[:-2], "10.5.2.0/24", "x10.99.0.2y")
