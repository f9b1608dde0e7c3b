"""Host ports in a configuration: every spelling that runtimes use, and what is refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from nankeen.cni.portmappings import parse_port_mappings
from nankeen.model.errors import InputError
from nankeen.model.gojson import Fields
from nankeen.model.hostport import PortMapping, Transport


def parse(*listed: Any) -> tuple[PortMapping, ...]:  # noqa: ANN401  (JSON)
    return parse_port_mappings(Fields({"portMappings": list(listed)}, "test"))


def mapping(**members: object) -> dict[str, Any]:
    return {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", **members}


@pytest.mark.parametrize(
    "written",
    [
        mapping(),
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
        {"hostport": 8080, "CONTAINERPORT": 80},
        mapping(protocol="TCP", hostIP=None),
    ],
)
def test_keys_and_protocols_are_read_in_any_case(written: dict[str, Any]) -> None:
    assert parse(written) == (PortMapping(Transport.TCP, 8080, 80),)


@pytest.mark.parametrize("text", ["127.0.0.1", "0.0.0.0", "::", "fd50::1"])  # noqa: S104
def test_an_address_of_either_family_may_be_named(text: str) -> None:
    assert parse(mapping(hostIP=text, protocol="udp")) == (PortMapping(Transport.UDP, 8080, 80, ip_address(text)),)


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_one() -> None:
    assert parse(mapping(hostIP="::ffff:192.0.2.1"))[0].host_address == ip_address("192.0.2.1")


def test_there_may_be_none() -> None:
    assert parse() == parse_port_mappings(None) == parse_port_mappings(Fields({}, "test")) == ()


def test_what_is_asked_for_twice_is_there_once() -> None:
    assert parse(mapping(), mapping(protocol="TCP")) == (PortMapping(Transport.TCP, 8080, 80),)


@pytest.mark.parametrize(
    "first, second",
    [
        (mapping(), mapping(containerPort=81)),
        (mapping(), mapping(hostIP="127.0.0.1")),
        (mapping(hostIP="::"), mapping(hostIP="fd50::1")),
    ],
)
def test_what_excludes_each_other_is_refused(first: dict[str, Any], second: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="can lead to one place only"):
        parse(first, second)


def test_one_port_of_two_families_or_protocols_may_lead_to_two_places() -> None:
    found = parse(mapping(hostIP="::"), mapping(hostIP="0.0.0.0", containerPort=81), mapping(protocol="sctp"))  # noqa: S104
    assert len(found) == 3


@pytest.mark.parametrize(
    "wrong, told",
    [
        (mapping(hostPort=0), "hostPort is 0; it must be a whole number from 1 to 65535"),
        (mapping(hostPort=65536), "hostPort is 65536"),
        (mapping(hostPort=-1), "hostPort is -1"),
        (mapping(hostPort="8080"), 'hostPort is "8080"'),
        (mapping(hostPort=True), "hostPort is true"),
        (mapping(hostPort=80.5), "hostPort is 80.5"),
        (mapping(hostPort=None), "hostPort is null"),
        ({"containerPort": 80}, "hostPort is null"),
        (mapping(containerPort=0), "containerPort is 0"),
        (mapping(containerPort=70000), "containerPort is 70000"),
        (mapping(containerPort=[]), "containerPort is []"),
        ({"hostPort": 80}, "containerPort is null"),
        (mapping(protocol="icmp"), 'protocol is "icmp"; it must be one of tcp, udp, sctp'),
        (mapping(protocol=""), 'protocol is ""'),
        (mapping(protocol=6), "protocol is 6"),
        (mapping(protocol="ﬅ"), "protocol is "),
        (mapping(hostIP="localhost"), 'hostIP is "localhost"'),
        (mapping(hostIP="10.0.0.256"), 'hostIP is "10.0.0.256"'),
        (mapping(hostIP="fe80::1%eth0"), "hostIP is "),
        (mapping(hostIP=1), "hostIP is 1"),
        (mapping(hostIP="224.0.0.1"), 'hostIP is "224.0.0.1"'),
        (mapping(hostIP="::1"), 'hostIP is "::1"'),
        ("8080:80", "portMappings is "),
        (None, "portMappings is "),
    ],
)
def test_what_is_wrong_is_named_by_its_key(wrong: object, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(wrong)
    assert told in str(caught.value)


@pytest.mark.parametrize("listed", ["", 1, {}, {"hostPort": 1}, True])
def test_what_is_no_list_is_refused(listed: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError):
        parse_port_mappings(Fields({"portMappings": listed}, "test"))


def test_thousands_of_ports_are_read_in_no_time_and_more_are_refused() -> None:
    assert len(parse(*(mapping(hostPort=number) for number in range(1, 4097)))) == 4096
    with pytest.raises(InputError):
        parse(*(mapping(hostPort=number) for number in range(1, 4098)))
