"""Limits as configurations and runtimes write them."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest

from nankeen.cni.bandwidth import NO_LIMITS, parse_bandwidth
from nankeen.model.errors import InputError
from nankeen.model.gojson import parse_object
from nankeen.model.shaping import Limit, Shaping

BOTH = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 16_000, "egressBurst": 8_000}


def parse(**members: Any) -> Shaping:  # noqa: ANN401
    fields = parse_object(json.dumps(members), "test")
    return parse_bandwidth(fields, fields.object("runtimeConfig"))


def test_bits_become_bytes() -> None:
    wanted = Shaping(received=Limit(1_000_000, 100_000), sent=Limit(2_000, 1_000))
    assert parse(**BOTH) == wanted
    assert parse(runtimeConfig={"bandwidth": BOTH}) == wanted
    assert parse(RuntimeConfig={"Bandwidth": {key.upper(): value for key, value in BOTH.items()}}) == wanted


def test_the_configuration_goes_before_the_runtime() -> None:
    assert parse(ingressRate=80, ingressBurst=80, runtimeConfig={"bandwidth": BOTH}) == Shaping(received=Limit(10, 10))


@pytest.mark.parametrize(
    "members", [{}, {"runtimeConfig": {}}, {"runtimeConfig": {"bandwidth": None}}, dict.fromkeys(BOTH, 0)]
)
def test_without_a_rate_there_is_no_limit(members: dict[str, Any]) -> None:
    assert parse(**members) == NO_LIMITS
    assert not parse(**members)


@pytest.mark.parametrize("burst", [2**32 - 1, 2**31 - 1])
def test_a_burst_that_a_runtime_makes_up_is_none(burst: int) -> None:
    assert parse(egressRate=8_000_000, egressBurst=burst) == Shaping(sent=Limit(1_000_000, None))


def test_some_far_ends_can_be_spared_or_limited_alone() -> None:
    assert parse(**BOTH, unshapedSubnets=["10.5.0.1/16", "fd00::/8"]).subnets == (
        ip_network("10.5.0.0/16"),
        ip_network("fd00::/8"),
    )
    assert parse(**BOTH, unshapedSubnets=["10.5.0.0/16"]).spares
    assert not parse(**BOTH, shapedSubnets=["10.5.0.0/16"]).spares


@pytest.mark.parametrize(
    "members, key",
    [
        ({"ingressRate": -1, "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": 7, "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": 1.5, "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": 10**15 + 1, "ingressBurst": 8}, "ingressRate"),
        ({"ingressRate": 8000}, "ingressBurst"),
        ({"ingressRate": 8000, "ingressBurst": "1M"}, "ingressBurst"),
        ({"ingressRate": 8000, "ingressBurst": 8 * (2**32 - 1)}, "ingressBurst"),
        ({"ingressBurst": 8000}, "ingressRate"),
        ({"egressRate": True, "egressBurst": 8}, "egressRate"),
        ({"egressRate": 8000, "egressBurst": 0}, "egressBurst"),
        ({"egressRate": 8000, "egressBurst": [8]}, "egressBurst"),
        ({**BOTH, "unshapedSubnets": "10.5.0.0/16"}, "unshapedSubnets"),
        ({**BOTH, "unshapedSubnets": ["10.5.0.0"]}, "unshapedSubnets"),
        ({**BOTH, "shapedSubnets": [5]}, "shapedSubnets"),
        ({**BOTH, "shapedSubnets": ["fd00::/8"], "unshapedSubnets": ["fd00::/8"]}, "shapedSubnets"),
        ({"runtimeConfig": {"bandwidth": []}}, "runtimeConfig.bandwidth"),
    ],
)
def test_what_is_no_limit_is_refused_by_its_key(members: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(**members)
    assert caught.value.problem.startswith(f"{key} is ")
