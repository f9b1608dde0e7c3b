from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.model.address import IPNetwork
from nankeen.model.errors import InputError
from nankeen.model.lease import Endpoint, Lease, Offer, Reach
from nankeen.model.leasevalue import LONGEST, decode, encode, key, parse_key

V4, V6 = ip_network("10.5.44.0/24"), ip_network("fc00:5:0:60::/64")
DATA = '{"VNI":1,"VtepMAC":"3e:6d:0f:c1:4e:b2"}'
DATA6 = '{"VNI":1,"VtepMAC":"3e:6d:0f:c1:4e:b3"}'
ENDPOINT = Endpoint(V4, Reach(ip_address("10.99.0.1"), DATA))
ENDPOINT6 = Endpoint(V6, Reach(ip_address("fd99::1"), DATA6))


def lease(*endpoints: Endpoint, backend: str = "vxlan") -> Lease:
    return Lease("node1", backend, endpoints, 1.5)


BYTE_FOR_BYTE = [
    (
        lease(ENDPOINT),
        '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":' + DATA + "}",
    ),
    (
        lease(ENDPOINT, ENDPOINT6),
        '{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan","BackendData":'
        + DATA
        + ',"BackendV6Data":'
        + DATA6
        + "}",
    ),
    (
        lease(ENDPOINT6),
        '{"PublicIP":"0.0.0.0","PublicIPv6":"fd99::1","BackendType":"vxlan","BackendV6Data":' + DATA6 + "}",
    ),
    (
        lease(Endpoint(V4, Reach(ip_address("10.99.0.1"))), backend="host-gw"),
        '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"host-gw"}',
    ),
    (
        replace(lease(ENDPOINT, ENDPOINT6), offers=(Offer("host-gw", (None, None)), Offer("vxlan", (DATA6, DATA)))),
        '{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan","BackendData":'
        + DATA
        + ',"BackendV6Data":'
        + DATA6
        + ',"Offers":[{"BackendType":"host-gw"},{"BackendType":"vxlan","BackendData":'
        + DATA6
        + ',"BackendV6Data":'
        + DATA
        + "}]}",
    ),
    (lease(Endpoint(V4, Reach(ip_address("10.99.0.1"))), backend=""), '{"PublicIP":"10.99.0.1","PublicIPv6":null}'),
    (
        lease(Endpoint(V4, Reach(ip_address("10.99.0.1"), '"a\\u0026b"')), backend="extension"),
        '{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"extension","BackendData":"a\\u0026b"}',
    ),
]


@pytest.mark.parametrize("known, text", BYTE_FOR_BYTE)
def test_a_lease_is_written_and_read_as_flannel_writes_it(known: Lease, text: str) -> None:
    assert encode(known) == text
    assert decode(text, known.subnets, "node1", 1.5) == known


def test_a_value_is_read_with_keys_in_any_case_and_spaces() -> None:
    text = (
        '{ "publicip": "10.99.0.1", "backendtype": "vxlan", "backendDATA": {"VNI": 1, "VtepMAC": "3e:6d:0f:c1:4e:b2"} }'
    )
    assert decode(text, [V4], "node1", 1.5) == lease(ENDPOINT)


def test_what_a_value_says_of_a_family_without_a_subnet_is_passed_over() -> None:
    assert decode(encode(lease(ENDPOINT, ENDPOINT6)), [V4], "node1", 1.5) == lease(ENDPOINT)


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "not JSON"),
        ("null", "null is no JSON object"),
        ("{}", "PublicIP is null; it must be an IPv4 address"),
        ('{"PublicIP":7}', "PublicIP is 7; it must be an IPv4 address"),
        ('{"PublicIP":"fd99::1"}', 'PublicIP is "fd99::1"; it must be an IPv4 address'),
        ('{"PublicIP":"0.0.0.0"}', 'PublicIP is "0.0.0.0"; it must be the IPv4 address that the node is reached at'),
        ('{"PublicIP":"10.99.0.1","BackendType":{}}', "BackendType is {}; it must be a string"),
        ('{"PublicIP":"10.99.0.1","BackendData":1e999}', "1e999 is too large a number"),
        ('{"PublicIP":"10.99.0.1","BackendData":"\\ud800"}', "half a character"),
        (" " * LONGEST + "{}", f"at most {LONGEST} are read"),
        ("[" * 60_000, "nested too deeply"),
    ],
)
def test_a_value_that_is_no_lease_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        decode(text, [V4], "node1", None)
    assert refused.value.where == "lease of node1"
    assert len(str(refused.value)) < 300


def test_a_dual_stack_lease_without_its_ipv6_address_is_refused() -> None:
    with pytest.raises(InputError, match="PublicIPv6 is null; it must be an IPv6 address"):
        decode(encode(lease(ENDPOINT)), [V4, V6], "node1", None)


networks = st.builds(
    lambda base, length: IPv4Network((base, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
networks6 = st.builds(
    lambda base, length: IPv6Network((base, length), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)
)
data = st.sampled_from([None, DATA, '"text"', "[1,2.5,true]", '{"a":{"b":[]}}', '"\\u003c"'])
endpoints = st.builds(Endpoint, networks, st.builds(Reach, st.integers(1, 2**32 - 1).map(IPv4Address), data))
endpoints6 = st.builds(Endpoint, networks6, st.builds(Reach, st.integers(2**32, 2**128 - 1).map(IPv6Address), data))
leases = st.builds(
    Lease,
    st.just("node1"),
    st.text(st.characters(codec="utf-8")),
    st.tuples(endpoints) | st.tuples(endpoints6) | st.tuples(endpoints, endpoints6),
    st.none() | st.floats(0, 2e9),
)


@given(leases)
def test_reading_what_was_written_gives_the_same_lease(known: Lease) -> None:
    assert decode(encode(known), known.subnets, known.node, known.expires) == known
    assert decode(encode(known).encode(), parse_key(key(known.subnets)), known.node, known.expires) == known


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.tuples(leases.map(encode), st.integers(0), st.text()).map(lambda t: t[0][: t[1] % 400] + t[2]),
        st.from_regex(r'\{"PublicIP":("[0-9.:]{0,12}"|[0-9]{1,3}|\[\]|null),"BackendData":.{0,20}\}', fullmatch=True),
    )
)
def test_no_value_raises_anything_but_an_input_error(text: str | bytes) -> None:
    with suppress(InputError):
        decode(text, [V4, V6], "node1", None)


@pytest.mark.parametrize(
    "subnets, text",
    [
        ((ip_network("10.5.34.0/24"),), "10.5.34.0-24"),
        ((V4, V6), "10.5.44.0-24&fc00:5:0:60::-64"),
        ((V6,), "fc00:5:0:60::-64"),
    ],
)
def test_a_key_names_the_subnets(subnets: tuple[IPNetwork, ...], text: str) -> None:
    assert key(subnets) == text
    assert key(tuple(reversed(subnets))) == text
    assert parse_key(text) == subnets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "config",
        "10.5.34.0",
        "10.5.34.0/24",
        "10.5.34.0-33",
        "10.5.34.1-24",
        "10.5.34.256-24",
        "10.5.34.0-24&",
        "10.5.34.0-24&10.5.35.0-24",
        "fc00:5:0:60::-64&10.5.44.0-24",
        "FC00:5:0:60::-64",
        "fc00:5:0:0060::-64",
        ":::-64",
        "x10.5.34.0-24",
        "10.5.34.0-24\n",
        "9" * 10_000,
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_key(text)
    assert len(str(refused.value)) < 300


@given(st.text() | st.text("0123456789abcdef.:-&", max_size=50))
def test_no_key_raises_anything_but_an_input_error(text: str) -> None:
    try:
        subnets = parse_key(text)
    except InputError:
        return
    assert key(subnets) == text


def test_a_lease_reads_as_one_way_for_each_backend_that_its_node_receives_on() -> None:
    offered = replace(lease(ENDPOINT, ENDPOINT6), offers=(Offer("host-gw", (None, None)),))
    first, second = offered.ways
    assert first == offered
    assert (second.backend, second.subnets) == ("host-gw", offered.subnets)
    assert [endpoint.reach for endpoint in second.endpoints] == [
        Reach(ip_address("10.99.0.1")),
        Reach(ip_address("fd99::1")),
    ]


@pytest.mark.parametrize("offers", ['"host-gw"', "{}", "[1]", "[" + ",".join(["{}"] * 9) + "]", '[{"BackendType":1}]'])
def test_offers_that_are_none_are_refused(offers: str) -> None:
    with pytest.raises(InputError, match="Offers"):
        decode(f'{{"PublicIP":"10.99.0.1","Offers":{offers}}}', [V4], "node1", None)


nearly_plain = st.from_regex(
    r'\{"PublicIP":"(10\.99\.0\.1|0\.0\.0\.0|10\.99\.00\.1|1\.2\.3|999\.1\.1\.1)","PublicIPv6":(null|"::1")'
    r'(,"BackendType":"(vxlan|host-gw|VXLAN|)")?(,"BackendData":(\{"VNI":(1|01|16777215),"VtepMAC":"[0-9a-f:]{17}"\}))?\}',
    fullmatch=True,
)


@given(nearly_plain, st.sampled_from(["10.5.34.0-24", "10.5.34.0-24&fc00:5:0:60::-64", "fc00:5:0:60::-64"]))
def test_a_value_written_to_the_letter_is_read_as_any_other(text: str, name: str) -> None:
    def read(spaced: str) -> Lease | str:
        try:
            return decode(spaced, parse_key(name), "node1", 1.0)
        except InputError as error:
            return error.problem

    assert read(text) == read(f"{text} ")


@given(networks)
def test_a_key_of_one_ipv4_subnet_is_read_as_that_subnet(network: IPv4Network) -> None:
    assert parse_key(key([network])) == (network,)
