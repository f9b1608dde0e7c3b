"""What the devices are called that limit a pod."""

from __future__ import annotations

from nankeen.pods.bandwidth import ifb_name


def test_the_name_is_that_of_the_reference_plugin() -> None:
    """`bwp` and the beginning of SHA-512 of `cbr0c1`, as sha512sum(1) prints it."""
    assert ifb_name("cbr0", "c1") == ifb_name("cbr0", "c1", "eth0") == "bwp68f1f1eeb62c"


def test_each_interface_of_a_pod_has_one_of_its_own() -> None:
    names = {ifb_name("cbr0", "c1", name) for name in ("eth0", "net1", "net2")}
    assert {len(name) for name in names} == {15}
    assert len(names) == 3
