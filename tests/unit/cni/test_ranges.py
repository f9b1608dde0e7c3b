"""Ranges: host-local's keys, defaults and rules."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.config import parse_config
from nankeen.cni.error import CniError
from nankeen.cni.ranges import Range, RangeSet, after, describe, holding, whole
from nankeen.model.address import IPAddress
from nankeen.model.errors import InputError
from nankeen.model.gojson import parse_object


def parse(ipam: dict[str, Any], version: str = "1.0.0", **more: Any) -> tuple[RangeSet, ...]:  # noqa: ANN401
    document = {"cniVersion": version, "name": "n", "ipam": ipam, **more}
    return parse_config(parse_object(json.dumps(document), "test")).ipam.ranges


def texts(ranges: RangeSet) -> list[str]:
    return [str(item) for item in after(ranges, None)]


def test_a_subnet_alone_gives_all_but_its_own_the_gateway_and_the_broadcast_address() -> None:
    [[v4]] = parse({"ranges": [[{"subnet": "10.5.34.0/29"}]]})
    assert texts((v4,)) == [f"10.5.34.{number}" for number in range(2, 7)]
    assert (str(v4), str(v4.gateway)) == ("10.5.34.1-10.5.34.6", "10.5.34.1")
    [[v6]] = parse({"ranges": [[{"subnet": "fd00::/126"}]]})
    assert texts((v6,)) == ["fd00::2", "fd00::3"]


def test_every_key_of_a_range_counts() -> None:
    item = {"subnet": "10.5.34.0/24", "rangeStart": "10.5.34.9", "RangeEnd": "10.5.34.11", "gateway": "10.5.34.10"}
    assert texts(parse({"ranges": [[item]]})[0]) == ["10.5.34.9", "10.5.34.11"]


def test_the_old_single_range_and_the_runtimes_ranges_are_sets_too() -> None:
    given = {"ipRanges": [[{"subnet": "10.1.0.0/24"}]]}
    sets = parse({"subnet": "10.2.0.0/24", "ranges": [[{"subnet": "10.3.0.0/24"}]]}, runtimeConfig=given)
    assert [str(item[0].subnet) for item in sets] == ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"]


@pytest.mark.parametrize(
    "ipam",
    [
        {"ranges": "all"},
        {"ranges": [{}]},
        {"ranges": [[]]},
        {"ranges": [["10.5.34.0/24"]]},
        {"ranges": [[{}]]},
        {"ranges": [[{"subnet": "10.5.34.1/24"}]]},
        {"ranges": [[{"subnet": "10.5.34.0"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/31"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/255.255.255.0"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24", "rangeStart": "10.5.35.1"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24", "rangeEnd": "10.5.34.255"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24", "rangeStart": "10.5.34.9", "rangeEnd": "10.5.34.8"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24", "gateway": "fd00::1"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24", "gateway": 1}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24"}], [{"subnet": "10.5.0.0/16"}]]},
        {"ranges": [[{"subnet": "10.5.34.0/24"}, {"subnet": "fd00::/64"}]]},
        {"subnet": "10.5.34.0/24", "ranges": [[{"subnet": "10.5.34.0/24"}]]},
        {"ranges": [[{"subnet": f"10.{number}.0.0/24"}] for number in range(17)]},
    ],
)
def test_what_is_no_range_is_refused(ipam: dict[str, Any]) -> None:
    with pytest.raises((InputError, CniError)):
        parse(ipam)


def test_two_addresses_of_a_family_need_a_version_that_can_tell_of_them() -> None:
    ipam = {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]}
    assert len(parse(ipam, "0.3.0")) == 2
    with pytest.raises(InputError, match="does not support more than one address"):
        parse(ipam, "0.2.0")


NUMBERS = st.integers(0, 15)
RANGES = st.tuples(NUMBERS, NUMBERS, NUMBERS).map(
    lambda numbers: Range(
        ip_network("10.0.0.0/28"),
        ip_address(f"10.0.0.{min(numbers[:2])}"),
        ip_address(f"10.0.0.{max(numbers[:2])}"),
        ip_address(f"10.0.0.{numbers[2]}"),
    )
)
MORE = st.sampled_from([Range.of(ip_network("10.1.0.0/29")), Range.of(ip_network("10.2.0.0/30"))])
LAST = st.none() | st.sampled_from([ip_address("10.0.0.5"), ip_address("10.1.0.4"), ip_address("fd00::1")])


@given(st.tuples(RANGES) | st.tuples(RANGES, MORE), LAST)
def test_every_address_of_a_set_comes_once_and_the_last_one_last(ranges: RangeSet, last: IPAddress | None) -> None:
    found = list(after(ranges, last))
    expected = {
        ip_address(number)
        for item in ranges
        for number in range(int(item.first), int(item.last) + 1)
        if number != int(item.gateway)
    }
    assert len(found) == len(expected)
    assert set(found) == expected
    if last in expected:
        assert found[-1] == last
    assert all(holding(ranges, address) for address in found)


def test_a_large_range_is_not_counted_through() -> None:
    [[v6]] = whole([ip_network("fd00::/64")])
    last = v6.subnet[-2]
    assert next(after((v6,), last)) == v6.subnet[-1]
    assert str(next(after((v6,), v6.subnet[-1]))) == "fd00::2"


def test_a_set_is_told_as_host_local_tells_it() -> None:
    ranges = tuple(item for found in whole([ip_network("10.1.0.0/30"), ip_network("10.2.0.0/30")]) for item in found)
    assert describe(ranges) == "10.1.0.1-10.1.0.2,10.2.0.1-10.2.0.2"
