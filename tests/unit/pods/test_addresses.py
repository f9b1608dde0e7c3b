"""The addresses on disk: host-local's files, and what becomes of them."""

# ruff: noqa: ASYNC240  (a test may look at a file)

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from ipaddress import ip_network
from pathlib import Path

import pytest

from nankeen.cni.error import CniError, Code
from nankeen.cni.ranges import whole
from nankeen.model.address import IPNetwork
from nankeen.pods.addresses import AddressStore, Attachment

V4: IPNetwork = ip_network("10.5.34.0/24")
V6: IPNetwork = ip_network("fc00:5:0:60::/64")
TINY: IPNetwork = ip_network("10.5.34.0/29")
POD = Attachment("c0ffee", "eth0")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "networks" / "cbr0"


@pytest.fixture
def store(directory: Path) -> AddressStore:
    return AddressStore(directory)


async def reserve(store: AddressStore, *subnets: IPNetwork, to: Attachment = POD) -> list[str]:
    return [str(address) for address in (await store.reserve(to, whole(subnets))).addresses]


def pod(number: int) -> Attachment:
    return Attachment(f"pod{number}", "eth0")


async def test_the_files_are_host_locals(store: AddressStore, directory: Path) -> None:
    assert await reserve(store, V4, V6) == ["10.5.34.2/24", "fc00:5:0:60::2/64"]
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "10.5.34.2": b"c0ffee\r\neth0",
        "fc00:5:0:60::2": b"c0ffee\r\neth0",
        "last_reserved_ip.0": b"10.5.34.2",
        "last_reserved_ip.1": b"fc00:5:0:60::2",
        "lock": b"",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


async def test_the_same_attachment_has_the_same_addresses_again(store: AddressStore) -> None:
    first = await store.reserve(POD, whole([V4, V6]))
    again = await store.reserve(POD, whole([V4, V6]))
    assert again.addresses == first.addresses
    assert (len(first.fresh), len(again.fresh)) == (2, 0)


async def test_another_interface_of_the_pod_is_another_attachment(store: AddressStore) -> None:
    assert await reserve(store, V4) == ["10.5.34.2/24"]
    assert await reserve(store, V4, to=Attachment("c0ffee", "eth1")) == ["10.5.34.3/24"]


async def test_a_freed_address_is_the_last_to_be_handed_out_again(store: AddressStore) -> None:
    assert [await reserve(store, TINY, to=pod(n)) for n in range(3)] == [
        ["10.5.34.2/29"],
        ["10.5.34.3/29"],
        ["10.5.34.4/29"],
    ]
    await store.release(pod(0))
    assert [await reserve(store, TINY, to=pod(n)) for n in (3, 4, 5)] == [
        ["10.5.34.5/29"],
        ["10.5.34.6/29"],
        ["10.5.34.2/29"],
    ]


async def test_a_used_up_subnet_is_told_in_host_locals_words(store: AddressStore) -> None:
    for number in range(5):
        await reserve(store, TINY, to=pod(number))
    with pytest.raises(CniError) as caught:
        await reserve(store, TINY)
    assert caught.value.code is Code.ADDRESSES_EXHAUSTED
    assert caught.value.problem == (
        "failed to allocate for range 0: no IP addresses available in range set: 10.5.34.1-10.5.34.6"
    )


async def test_where_one_family_is_used_up_the_other_is_not_taken(store: AddressStore, directory: Path) -> None:
    for number in range(5):
        await reserve(store, TINY, to=pod(number))
    with pytest.raises(CniError, match="range 1"):
        await store.reserve(POD, whole([V6, TINY]))
    assert not [path for path in directory.iterdir() if path.read_bytes() == POD.content]


async def test_what_host_local_handed_out_is_not_handed_out_again(store: AddressStore, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "10.5.34.7").write_bytes(b"flannel-pod\r\neth0")
    (directory / "10.5.34.8").write_bytes(b"old-pod")
    (directory / "last_reserved_ip.0").write_bytes(b"10.5.34.6")
    assert await reserve(store, V4) == ["10.5.34.9/24"]
    assert await reserve(store, V4, to=Attachment("flannel-pod", "eth0")) == ["10.5.34.7/24"]


async def test_an_entry_of_the_oldest_format_is_freed_by_the_container_alone(
    store: AddressStore, directory: Path
) -> None:
    directory.mkdir(parents=True)
    (directory / "10.5.34.8").write_bytes(b"c0ffee\n")
    assert [str(address) for address in await store.release(POD)] == ["10.5.34.8"]
    assert not (directory / "10.5.34.8").exists()


async def test_an_interface_does_not_free_what_another_holds(store: AddressStore) -> None:
    await reserve(store, V4)
    assert await store.release(Attachment("c0ffee", "eth1")) == ()
    assert await store.release(Attachment("c0ff", "ee")) == ()
    assert len(await store.release(POD)) == 1


async def test_freeing_what_is_free_is_no_error(store: AddressStore) -> None:
    assert await store.release(POD) == ()


async def test_an_address_of_a_former_subnet_is_freed_with_the_attachment(store: AddressStore) -> None:
    await reserve(store, ip_network("10.5.99.0/24"))
    assert await reserve(store, V4) == ["10.5.34.2/24"]
    assert [str(address) for address in await store.release(POD)] == ["10.5.34.2", "10.5.99.2"]


async def test_an_empty_file_that_a_crash_left_is_taken_back(store: AddressStore, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "10.5.34.2").touch()
    assert await reserve(store, V4) == ["10.5.34.2/24"]
    assert (directory / "10.5.34.2").read_bytes() == POD.content


async def test_a_draft_that_a_crash_left_beside_its_address_harms_nobody(store: AddressStore, directory: Path) -> None:
    await reserve(store, V4)
    os.link(directory / "10.5.34.2", directory / ".nankeen")
    assert await reserve(store, V4, to=pod(1)) == ["10.5.34.3/24"]
    assert (directory / "10.5.34.2").read_bytes() == POD.content
    assert not (directory / ".nankeen").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"10.9.9.9", b"10.5.34.255", b"10.5.34.1", b"fc00::1", b"x" * 4096]
)
async def test_a_last_address_that_makes_no_sense_begins_the_round_anew(
    store: AddressStore, directory: Path, content: bytes
) -> None:
    directory.mkdir(parents=True)
    (directory / "last_reserved_ip.0").write_bytes(content)
    assert await reserve(store, V4) == ["10.5.34.2/24"]


async def test_the_last_address_is_written_whole_over_a_longer_one(store: AddressStore, directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "last_reserved_ip.0").write_bytes(b"10.5.34.254")
    await reserve(store, V4)
    assert (directory / "last_reserved_ip.0").read_bytes() == b"10.5.34.2"


async def test_an_address_written_in_another_way_frees_nobody_elses(store: AddressStore, directory: Path) -> None:
    await reserve(store, V6, to=pod(1))
    (directory / "fc00:5:0:60:0:0:0:2").write_bytes(POD.content)
    assert await store.release(POD) == ()
    assert (directory / "fc00:5:0:60::2").exists()


async def test_names_that_are_no_addresses_are_left_alone(store: AddressStore, directory: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(POD.content)
    directory.mkdir(parents=True)
    for name in ("10.5.34.002", "FC00:5:0:60::2", "notes.txt", "10.5.34.2.bak"):
        (directory / name).write_bytes(POD.content)
    (directory / "10.5.34.2").symlink_to(victim)
    (directory / "10.5.34.3").mkdir()
    os.mkfifo(directory / "10.5.34.4")
    before = {path.name for path in directory.iterdir()}
    assert await reserve(store, V4) == ["10.5.34.5/24"]
    await store.release(POD)
    assert {path.name for path in directory.iterdir()} == before | {"lock", "last_reserved_ip.0"}
    assert victim.read_bytes() == POD.content


@pytest.mark.parametrize("subnet", ["10.5.34.0/31", "10.5.34.7/32", "fc00::/127"])
async def test_a_subnet_without_room_for_a_pod_is_refused(store: AddressStore, subnet: str) -> None:
    with pytest.raises(CniError) as caught:
        await reserve(store, ip_network(subnet))
    assert caught.value.code is Code.INVALID_CONFIG


async def test_a_lock_that_another_process_keeps_is_given_up(directory: Path) -> None:
    store = AddressStore(directory, lock_seconds=0)
    directory.mkdir(parents=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CniError) as caught:
            await reserve(store, V4)
    assert caught.value.code is Code.TRY_AGAIN_LATER
    assert await reserve(store, V4) == ["10.5.34.2/24"]


async def test_a_lock_is_waited_for_without_holding_up_the_agent(store: AddressStore, directory: Path) -> None:
    directory.mkdir(parents=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = asyncio.create_task(reserve(store, V4))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting == ["10.5.34.2/24"]


async def test_stores_of_one_directory_never_hand_out_an_address_twice(directory: Path) -> None:
    tasks = [reserve(AddressStore(directory), V4, to=pod(number)) for number in range(100)]
    handed_out = [address for [address] in await asyncio.gather(*tasks)]
    assert len(set(handed_out)) == 100
