"""The files that tell which host ports pods have."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.request import Attachment
from nankeen.model.hostport import HostPort, PortMapping, Transport
from nankeen.pods.portstore import PodPorts, PortStore

POD = PodPorts(
    "cbr0",
    Attachment("c1", "eth0"),
    (IPv4Interface("10.5.34.2/24"), IPv6Interface("fc00::2/64")),
    (PortMapping(Transport.TCP, 8080, 80), PortMapping(Transport.UDP, 53, 5353, ip_address("::"))),
    "cni0",
    "veth01234567",
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    store = PortStore(tmp_path / "ports")
    assert list(store.read()) == []
    store.write(POD)
    assert list(PortStore(tmp_path / "ports").read()) == [POD]
    assert (tmp_path / "ports" / POD.key).stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        store.remove(POD)
    assert list(store.read()) == []


def test_a_port_leads_to_the_first_address_of_each_family_that_it_is_of() -> None:
    four, six = ip_address("10.5.34.2"), ip_address("fc00::2")
    assert POD.host_ports == {
        HostPort(Transport.TCP, 8080, four, 80),
        HostPort(Transport.TCP, 8080, six, 80),
        HostPort(Transport.UDP, 53, six, 5353),
    }


def test_attachments_of_one_container_or_one_name_in_two_networks_are_two() -> None:
    keys = {
        PodPorts(network, Attachment(container, interface), (), ()).key
        for network in ("cbr0", "other")
        for container in ("c1", "c2")
        for interface in ("eth0", "net1")
    }
    assert len(keys) == 8


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"network":"cbr0","container":"../x","interface":"eth0","addresses":["10.5.34.2/24"]}',
        '{"network":"cbr0","container":"c1","interface":"eth0","addresses":["10.5.34.2"]}',
        '{"network":"cbr0","container":"c1","interface":"eth0","addresses":["10.5.34.2/24"],"portMappings":[{}]}',
        '{"network":"cbr0","container":"c1","interface":"eth0","addresses":["10.5.34.2/24"]}',
    ],
)
def test_a_damaged_file_is_passed_over_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    store = PortStore(tmp_path)
    store.write(POD)
    (tmp_path / "0.json").write_text(content)
    assert list(store.read()) == [POD]
    assert "host ports are not known any more" in caplog.text


@given(st.binary(max_size=200))
def test_whatever_lies_there_does_no_harm(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.mktemp("ports")
    (directory / "x.json").write_bytes(content)
    assert list(PortStore(directory).read()) == []
