"""The laws of the address store, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
import tempfile
from ipaddress import ip_address, ip_network
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nankeen.cni.error import CniError, Code
from nankeen.cni.ranges import whole
from nankeen.model.address import IPInterface, IPNetwork
from nankeen.pods.addresses import AddressStore, Attachment

ATTACHMENTS = st.builds(Attachment, st.sampled_from(["a", "b", "ab", "c", "d"]), st.sampled_from(["eth0", "eth1"]))
V4 = st.sampled_from(["10.5.34.0/29", "10.5.34.0/30", "10.5.34.8/29"]).map(ip_network)
V6 = st.sampled_from(["fc00::/125", "fc00::/126", "fc00:1::/64"]).map(ip_network)
SUBNETS = st.one_of(V4.map(lambda v4: (v4,)), V6.map(lambda v6: (v6,)), st.tuples(V4, V6))


class Laws(RuleBasedStateMachine):
    """A store beside a model of it: who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory(prefix="nk-")
        self.directory = Path(self.place.name) / "cbr0"
        self.held: dict[Attachment, tuple[IPInterface, ...]] = {}

    def teardown(self) -> None:
        self.place.cleanup()

    @initialize(subnets=SUBNETS)
    def choose(self, subnets: tuple[IPNetwork, ...]) -> None:
        self.subnets = subnets

    @property
    def store(self) -> AddressStore:
        """A new one each time: everything that counts is on disk."""
        return AddressStore(self.directory)

    @rule(attachment=ATTACHMENTS)
    def reserve(self, attachment: Attachment) -> None:
        try:
            found = asyncio.run(self.store.reserve(attachment, whole(self.subnets)))
        except CniError as error:
            assert error.code is Code.ADDRESSES_EXHAUSTED  # noqa: PT017  (either is right)
            assert attachment not in self.held
            assert any(self._used(subnet) == self._room(subnet) for subnet in self.subnets)
            return
        if attachment in self.held:
            assert found.addresses == self.held[attachment]
            assert found.fresh == ()
        else:
            assert found.fresh == tuple(address.ip for address in found.addresses)
        self.held[attachment] = found.addresses

    @rule(attachment=ATTACHMENTS, number=st.integers(0, 7))
    def reserve_one_that_is_asked_for(self, attachment: Attachment, number: int) -> None:
        asked = self.subnets[0].network_address + number
        try:
            found = asyncio.run(self.store.reserve(attachment, whole(self.subnets), [asked]))
        except CniError:
            return  # the invariants see that nothing has changed
        assert found.addresses[0].ip == asked
        assert attachment not in self.held or self.held[attachment] == found.addresses
        self.held[attachment] = found.addresses

    @rule(attachment=ATTACHMENTS)
    def release(self, attachment: Attachment) -> None:
        freed = asyncio.run(self.store.release(attachment))
        assert set(freed) == {address.ip for address in self.held.pop(attachment, ())}

    @rule(content=st.sampled_from(["", "10.5.34.3", "fc00::5", "rubbish"]))
    def damage_the_last_address(self, content: str) -> None:
        self.directory.mkdir(exist_ok=True)
        (self.directory / "last_reserved_ip.0").write_text(content)

    @rule(number=st.integers(2, 5))
    def crash_of_host_local(self, number: int) -> None:
        """It makes a file, and writes it afterwards."""
        path = self.directory / str(self.subnets[0][number % self.subnets[0].num_addresses])
        if self.directory.exists() and not path.exists():
            path.touch()

    @invariant()
    def no_address_is_held_twice(self) -> None:
        addresses = [address for held in self.held.values() for address in held]
        assert len(addresses) == len(set(addresses))

    @invariant()
    def addresses_are_of_the_subnet_and_nobody_elses(self) -> None:
        for held in self.held.values():
            for address, subnet in zip(held, self.subnets, strict=True):
                assert address.network == subnet
                reserved = {subnet[0], subnet[1]} | ({subnet[-1]} if subnet.version == 4 else set())
                assert address.ip not in reserved

    @invariant()
    def the_disk_says_the_same(self) -> None:
        names = [path.name for path in self.directory.glob("*") if path.name[0] in "1f" and path.stat().st_size]
        assert {ip_address(name) for name in names} == {item.ip for held in self.held.values() for item in held}

    def _used(self, subnet: IPNetwork) -> int:
        return sum(address.network == subnet for held in self.held.values() for address in held)

    def _room(self, subnet: IPNetwork) -> int:
        return subnet.num_addresses - (3 if subnet.version == 4 else 2)


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
