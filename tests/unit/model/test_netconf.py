import json
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.address import Family, parse_network
from nankeen.model.errors import ConfigError
from nankeen.model.gojson import JSON
from nankeen.model.netconf import NetworkConfig, Pool


def config(**fields: JSON) -> NetworkConfig:
    return NetworkConfig.parse(json.dumps(fields))


def pool(**fields: JSON) -> Pool:
    (only,) = config(**fields).pools
    return only


def pool6(**fields: JSON) -> Pool:
    return pool(**{"EnableIPv4": False, "EnableIPv6": True, **fields})


def lines(one: Pool) -> str:
    return f"{one.network} /{one.subnet_length} {one.first.network_address} {one.last.network_address}"


@pytest.mark.parametrize(
    "network, expected",
    [
        ("10.5.0.0/16", "10.5.0.0/16 /24 10.5.1.0 10.5.255.0"),
        ("10.3.0.0/16", "10.3.0.0/16 /24 10.3.1.0 10.3.255.0"),
        ("10.5.34.9/16", "10.5.0.0/16 /24 10.5.1.0 10.5.255.0"),
        ("10.5.0.0/22", "10.5.0.0/22 /24 10.5.1.0 10.5.3.0"),
        ("10.5.0.0/23", "10.5.0.0/23 /25 10.5.0.128 10.5.1.128"),
        ("10.5.0.0/28", "10.5.0.0/28 /30 10.5.0.4 10.5.0.12"),
    ],
)
def test_an_ipv4_pool_is_derived_from_its_network(network: str, expected: str) -> None:
    assert lines(pool(Network=network)) == expected


@pytest.mark.parametrize(
    "network, expected",
    [
        ("fc00:5::/48", "fc00:5::/48 /64 fc00:5:0:1:: fc00:5:0:ffff::"),
        ("fc00:5::/62", "fc00:5::/62 /64 fc00:5:0:1:: fc00:5:0:3::"),
        ("fc00:5::/63", "fc00:5::/63 /65 fc00:5:0:0:8000:: fc00:5:0:1:8000::"),
        ("fc00:5::/124", "fc00:5::/124 /126 fc00:5::4 fc00:5::c"),
    ],
)
def test_an_ipv6_pool_is_derived_by_the_same_rule(network: str, expected: str) -> None:
    assert lines(pool6(IPv6Network=network)) == expected


def test_what_is_given_is_taken() -> None:
    given = pool(Network="10.5.0.0/16", SubnetLen=28, SubnetMin="10.5.0.0", SubnetMax="10.5.0.240")
    assert lines(given) == "10.5.0.0/16 /28 10.5.0.0 10.5.0.240"
    assert given.size == 16


def test_zero_and_the_unspecified_address_are_as_good_as_nothing() -> None:
    assert pool(Network="10.5.0.0/16", SubnetLen=0, SubnetMin="0.0.0.0") == pool(Network="10.5.0.0/16")  # noqa: S104  (binds nothing)


def test_both_families_stand_ipv4_first() -> None:
    both = config(EnableIPv6=True, IPv6Network="fc00:5::/48", Network="10.5.0.0/16")
    assert both.networks == (ip_network("10.5.0.0/16"), ip_network("fc00:5::/48"))
    assert both.pool(Family.IPV6) == both.pools[1]
    assert config(Network="10.5.0.0/16").pool(Family.IPV6) is None


def test_a_network_that_is_not_enabled_is_not_read() -> None:
    assert config(Network="10.5.0.0/16", IPv6Network="nonsense").networks == (ip_network("10.5.0.0/16"),)


REFUSED: list[tuple[Mapping[str, JSON], str]] = [
    ({}, "Network is null; it must be an IPv4 network"),
    ({"Network": ""}, 'Network is ""; it must be an IPv4 network'),
    ({"Network": "128.0.0.0/0"}, 'Network is "128.0.0.0/0"; it must be an IPv4 network'),
    ({"Network": "10.5.0.0"}, 'Network is "10.5.0.0"; it must be an IPv4 network'),
    ({"Network": "fc00:5::/48"}, 'Network is "fc00:5::/48"; it must be an IPv4 network'),
    ({"Network": 10}, "Network is 10; it must be an IPv4 network"),
    ({"Network": "10.5.0.0/29"}, 'Network is "10.5.0.0/29"; it must be a /28 or larger'),
    ({"Network": "10.5.0.0/16", "SubnetLen": 17}, "SubnetLen is 17; it must be from 18 to 30"),
    ({"Network": "10.5.0.0/16", "SubnetLen": 31}, "SubnetLen is 31; it must be a whole number from 0 to 30"),
    ({"Network": "10.5.0.0/16", "SubnetLen": -1}, "SubnetLen is -1"),
    ({"Network": "10.5.0.0/16", "SubnetLen": False}, "SubnetLen is false"),
    ({"Network": "10.5.0.0/16", "SubnetLen": "24"}, 'SubnetLen is "24"'),
    (
        {"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"},
        'SubnetMin is "10.6.0.0"; it must be the base address of a /24',
    ),
    ({"Network": "10.5.0.0/16", "SubnetMin": "10.4.255.0"}, 'SubnetMin is "10.4.255.0"'),
    (
        {"Network": "10.5.0.0/16", "SubnetMax": "10.5.9.1"},
        'SubnetMax is "10.5.9.1"; it must be the base address of a /24',
    ),
    ({"Network": "10.5.0.0/16", "SubnetMax": "fc00::"}, 'SubnetMax is "fc00::"'),
    (
        {"Network": "10.5.0.0/16", "SubnetMin": "10.5.9.0", "SubnetMax": "10.5.8.0"},
        "it must not lie above SubnetMax, 10.5.8.0",
    ),
    ({"EnableIPv4": False}, "EnableIPv4 and EnableIPv6 are both false; enable one of them"),
    ({"EnableIPv4": "yes", "Network": "10.5.0.0/16"}, 'EnableIPv4 is "yes"; it must be true or false'),
    ({"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "10.5.0.0/16"}, "IPv6Network is .* an IPv6 network"),
    ({"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/125"}, "IPv6Network is .* a /124 or larger"),
    (
        {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/48", "IPv6SubnetLen": 127},
        "IPv6SubnetLen is 127",
    ),
    ({"Network": "10.5.0.0/16", "Backend": {}}, "Backend.Type is null; it must name a backend"),
    ({"Network": "10.5.0.0/16", "Backend": {"Type": 7}}, "Backend.Type is 7; it must be a string"),
    ({"Network": "10.5.0.0/16", "Backend": "vxlan"}, 'Backend is "vxlan"; it must be an object'),
    ({"Network": "10.5.0.0/16", "EnableNFTables": 1}, "EnableNFTables is 1; it must be true or false"),
]


@pytest.mark.parametrize("fields, told", REFUSED)
def test_what_cannot_be_run_with_is_refused_by_field_value_and_what_is_allowed(
    fields: Mapping[str, JSON], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        config(**fields)


def test_a_file_that_is_not_json_is_told_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"/etc/net-conf.json: not JSON"):
        NetworkConfig.parse("network: 10.5.0.0/16", "/etc/net-conf.json")
    with pytest.raises(ConfigError, match=r"/etc/net-conf.json: .* is no JSON object"):
        NetworkConfig.parse("[]", "/etc/net-conf.json")


def test_keys_in_any_case_and_unknown_ones_are_taken_as_flannel_takes_them() -> None:
    parsed = NetworkConfig.parse(b'{"network":"10.5.0.0/16","Name":"x","backend":{"type":"VXLAN","vni":7,"vni":8}}')
    assert parsed.backend.type == "vxlan"
    assert parsed.backend.fields().integer("VNI", 1, 0, 9) == 8


def test_a_missing_backend_is_vxlan() -> None:
    assert config(Network="10.5.0.0/16").backend.type == "vxlan"
    assert config(Network="10.5.0.0/16", Backend=None).backend.type == "vxlan"


def test_a_wrong_option_is_told_with_its_place() -> None:
    backend = config(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": "one"}).backend
    with pytest.raises(ConfigError, match=r'network configuration: Backend.VNI is "one"'):
        backend.fields().integer("VNI", 1, 0, 9)


def test_a_configuration_written_out_says_everything() -> None:
    text = config(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": 7}).to_json()
    assert text == (
        '{"EnableIPv4":true,"EnableIPv6":false,"EnableNFTables":false,"Network":"10.5.0.0/16","SubnetLen":24,'
        '"SubnetMin":"10.5.1.0","SubnetMax":"10.5.255.0","Backend":{"Type":"vxlan","VNI":7}}'
    )


@st.composite
def documents(draw: st.DrawFn) -> dict[str, JSON]:
    """Documents of one or two families, with or without each field that may be left out."""
    families = draw(st.sampled_from([(Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)]))
    document: dict[str, JSON] = {
        "EnableIPv4": Family.IPV4 in families,
        "EnableIPv6": Family.IPV6 in families,
        "EnableNFTables": draw(st.booleans()),
        "Backend": {
            "Type": draw(st.sampled_from(["vxlan", "Host-GW"])),
            **draw(st.dictionaries(st.text("abc"), st.integers())),
        },
    }
    for family in families:
        prefix = "" if family is Family.IPV4 else "IPv6"
        longest = family.bits - 4
        length = draw(st.integers(1, longest))
        base = draw(st.integers(1, (1 << length) - 1)) << (family.bits - length)
        kind = IPv4Network if family is Family.IPV4 else IPv6Network
        document[f"{prefix}Network"] = str(kind((base, length)))
        if draw(st.booleans()):
            cut = draw(st.integers(length + 2, family.bits - 2))
            low, high = sorted(draw(st.lists(st.integers(0, (1 << (cut - length)) - 1), min_size=2, max_size=2)))
            step = 1 << (family.bits - cut)
            document[f"{prefix}SubnetLen"] = cut
            document[f"{prefix}SubnetMin"] = str(kind((base + low * step, cut)).network_address)
            document[f"{prefix}SubnetMax"] = str(kind((base + high * step, cut)).network_address)
    return document


@given(documents())
def test_reading_what_was_written_gives_the_same_configuration(document: dict[str, JSON]) -> None:
    parsed = config(**document)
    again = NetworkConfig.parse(parsed.to_json())
    assert again == parsed
    assert again.to_json() == parsed.to_json()


@given(documents())
def test_a_pool_admits_what_it_lists_and_nothing_beside_it(document: dict[str, JSON]) -> None:
    for one in config(**document).pools:
        listed = list(islice(one, 5))
        assert listed[0] == one.first
        assert all(map(one.admits, [*listed, one.last]))
        assert all(subnet.subnet_of(one.network) for subnet in listed)  # type: ignore[arg-type]
        assert len(listed) == min(5, one.size)
        assert not one.admits(one.network)
        assert not one.admits(parse_network(f"{one.last.network_address}/{one.subnet_length + 1}"))


def test_a_small_pool_lists_every_subnet_in_order() -> None:
    small = pool(Network="10.5.0.0/22")
    assert [str(subnet) for subnet in small] == ["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"]
    assert small.size == 3
    assert not small.admits(ip_network("10.5.0.0/24"))
    assert not small.admits(ip_network("10.5.4.0/24"))
    assert not small.admits(ip_network("fc00::/24"))


def test_a_pool_too_large_to_list_still_tells_its_size() -> None:
    assert pool6(IPv6Network="fc00::/8", IPv6SubnetLen=126).size == 2**118 - 1


@given(st.text() | st.binary())
def test_no_text_raises_anything_but_a_configuration_error(text: str | bytes) -> None:
    with pytest.raises(ConfigError):
        NetworkConfig.parse(text)


def test_fallbacks_are_backends_too_and_flannel_passes_over_them() -> None:
    text = '{"Network":"10.5.0.0/16","Backend":{"Type":"wireguard"},"Fallbacks":[{"Type":"VXLAN","VNI":7}]}'
    config = NetworkConfig.parse(text)
    assert [backend.document() for backend in config.fallbacks] == [{"Type": "vxlan", "VNI": 7}]
    assert NetworkConfig.parse(config.to_json()) == config
    with pytest.raises(ConfigError, match=r"Fallbacks\[0\].Type"):
        NetworkConfig.parse('{"Network":"10.5.0.0/16","Fallbacks":[{}]}')
