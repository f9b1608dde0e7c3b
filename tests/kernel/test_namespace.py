"""Namespaces as `ip netns` knows them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nankeen.kernel import namespace as namespaces
from nankeen.kernel.namespace import Namespace, current, entered
from nankeen.kernel.netlink.socket import NetlinkSocket
from nankeen.kernel.observe import names
from nankeen.model.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.conftest import Net


def test_a_namespace_is_listed_by_ip_netns(net: Net) -> None:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert net.name in listed
    assert net.name in namespaces.names()


def test_a_thread_that_entered_is_back_home_afterwards_also_after_an_error(net: Net) -> None:
    with current() as home:
        with pytest.raises(RuntimeError), entered(net.namespace), current() as inside:  # noqa: PT012
            assert inside.inode == net.namespace.inode
            raise RuntimeError
        with current() as now:
            assert now.inode == home.inode


def test_a_socket_made_inside_stays_inside(net: Net) -> None:
    net.run("ip link add nk-here type bridge")
    with NetlinkSocket(net.namespace) as socket, NetlinkSocket() as outside:
        assert "nk-here" in names(socket).values()
        assert "nk-here" not in names(outside).values()


def test_a_name_that_is_taken_is_refused(net: Net) -> None:
    with pytest.raises(KernelError, match=r"exists"):
        namespaces.create(net.name)


def test_removing_a_name_that_is_not_there_is_no_error() -> None:
    namespaces.remove("nk-test-never-made")


def test_a_file_that_is_no_namespace_is_refused_and_not_left_open(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KernelError, match="not a network namespace"):
        Namespace.open(plain)
    with pytest.raises(KernelError, match="No such file"):
        Namespace.open(tmp_path / "missing")
    with pytest.raises(KernelError, match="not a network namespace"):
        Namespace.open("/proc/self/ns/uts")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_removed_namespace_lives_as_long_as_it_is_held(make_net: Callable[[], Net]) -> None:
    net = make_net()
    namespaces.remove(net.name)
    assert net.name not in namespaces.names()
    assert "lo" in names(net.socket).values()
