from ipaddress import ip_address, ip_network

import pytest

from nankeen.backend import Underlay, claim, open_backend
from nankeen.model.address import Family
from nankeen.model.diff import Claim
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.netconf import BackendConfig
from tests.unit.backend.fabric import IPV4, node


def test_a_backend_is_opened_by_its_name() -> None:
    assert open_backend(BackendConfig("vxlan")).announces == "vxlan"


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"Backend.Type is 'vxlam'; it must be one of: .*vxlan"):
        open_backend(BackendConfig("vxlam"))


def test_a_node_is_reached_by_its_own_address_unless_it_has_a_public_one() -> None:
    assert node().public_address(Family.IPV4) == ip_address("10.99.0.1")
    behind_nat = node(public="192.0.2.1")
    assert behind_nat.public_address(Family.IPV4) == ip_address("192.0.2.1")
    assert behind_nat.local_address(Family.IPV4) == ip_address("10.99.0.1")
    assert behind_nat.public_address(Family.IPV6) == ip_address("fd99::1")


def test_an_underlay_without_an_address_of_the_family_is_told() -> None:
    bare = node()
    lone = type(bare)(bare.name, Underlay("eth0", 1500, (ip_address("10.99.0.1"),)), bare.networks)
    with pytest.raises(InputError, match="eth0: no IPv6 address; choose another interface"):
        lone.public_address(Family.IPV6)


def test_the_backends_devices_and_routes_to_pods_by_the_underlay_are_claimed() -> None:
    vxlan = open_backend(BackendConfig("vxlan"))
    assert claim(vxlan, node()) == Claim(frozenset({"flannel.1"}), frozenset({ip_network(IPV4)}), frozenset({"eth0"}))
