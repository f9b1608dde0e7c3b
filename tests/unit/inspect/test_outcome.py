"""What became of a probe, in words."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from nankeen.inspect.outcome import Refused, Silent, icmp_refusal, local_refusal
from nankeen.model.address import Family

ROUTER = ip_address("10.244.1.1")


@pytest.mark.parametrize(
    "family, kind, reason",
    [
        (Family.IPV4, (3, 0), "network unreachable"),
        (Family.IPV4, (3, 1), "host unreachable"),
        (Family.IPV4, (11, 0), "time to live exceeded in transit"),
        (Family.IPV6, (1, 0), "no route to destination"),
        (Family.IPV6, (1, 3), "address unreachable"),
        (Family.IPV6, (4, 1), "ICMP type 4 code 1"),
    ],
)
def test_an_icmp_error_is_told_in_the_words_of_its_rfc(family: Family, kind: tuple[int, int], reason: str) -> None:
    assert icmp_refusal(family, kind, ROUTER, 77) == Refused(reason, ROUTER, None)


@pytest.mark.parametrize("family, kind", [(Family.IPV4, (3, 4)), (Family.IPV6, (2, 0))])
def test_an_icmp_error_about_the_size_names_the_mtu(family: Family, kind: tuple[int, int]) -> None:
    assert icmp_refusal(family, kind, ROUTER, 1400).mtu == 1400


def test_only_an_error_about_the_size_has_an_mtu() -> None:
    assert local_refusal(errno.EMSGSIZE, 1450) == Refused("message too long (EMSGSIZE)", mtu=1450)
    assert local_refusal(errno.ENETUNREACH, 1450).mtu is None


@pytest.mark.parametrize(
    "outcome, words",
    [
        (Refused("network unreachable", ROUTER), "10.244.1.1 says: network unreachable"),
        (Refused("no route (X)"), "its own kernel says: no route (X)"),
        (Refused("no route", ROUTER, answerer="pod2"), "10.244.1.1 says of pod2's answer: no route"),
        (Refused("no route", answerer="pod2"), "pod2's own kernel says of its answer: no route"),
        (Refused("packet too big", ROUTER, 1400), "10.244.1.1 says: packet too big, MTU 1400"),
        (Silent(3.5), "no answer in 3.5 s"),
        (Silent(3.5, "pod2", ROUTER), "no answer in 3.5 s; the probe arrived at pod2 from 10.244.1.1"),
    ],
)
def test_an_outcome_is_a_sentence(outcome: Refused | Silent, words: str) -> None:
    assert str(outcome) == words
