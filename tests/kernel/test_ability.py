"""What the kernel can make, told without making anything, and told when it cannot."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel.ability import can_make, lacking
from nankeen.kernel.apply import apply
from nankeen.kernel.observe import names
from nankeen.model.diff import Change, Verb
from nankeen.model.state import Device, Ipip, Link

if TYPE_CHECKING:
    from tests.kernel.conftest import Net


@pytest.mark.parametrize("kind", ["bridge", "veth", "vxlan"])
def test_a_kind_that_the_kernel_has_is_found_and_nothing_is_made(net: Net, kind: str) -> None:
    before = names(net.socket)
    assert can_make(net.socket, kind)
    assert names(net.socket) == before


def test_a_kind_that_no_kernel_has_is_not_found(net: Net) -> None:
    assert not can_make(net.socket, "nk-no-such")
    assert lacking(net.socket, {"vxlan", "nk-no-such", "bridge"}) == ("nk-no-such",)


def test_the_answer_is_that_of_an_attempt_to_make_one(net: Net) -> None:
    wanted = Link("flannel.ipip", Ipip(IPv4Address("10.99.0.1")))
    refused = apply(net.socket, [Change(Verb.ADD, wanted)], net.namespace)
    assert can_make(net.socket, "ipip") == (not refused)
    if refused:
        assert refused[0].reason == "the kernel has no ipip: load the module `ipip`, or choose another backend"


def test_a_missing_kind_is_told_with_the_module_that_brings_it(net: Net) -> None:
    (refused,) = apply(net.socket, [Change(Verb.ADD, Link("nk0", Device("nk-no-such"), up=False))], net.namespace)
    assert str(refused).endswith(
        "the kernel has no nk-no-such: load the module `nk-no-such`, or choose another backend"
    )
