# ruff: noqa: ANN401  (pyroute2 has no types)
"""Messages about bridges and groups of devices, read by another implementation of netlink (pyroute2)."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from nankeen.kernel.netlink import bridge, reception
from nankeen.kernel.netlink.link import RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK

AF_BRIDGE = 7
PVID_UNTAGGED, RANGE_BEGIN, RANGE_END = 0x6, 0x8, 0x10


def decoded(raw: bytes) -> Any:
    found = ifinfmsg(raw)
    found.decode()
    assert found["index"] in (0, 9)
    return found


def vlans(raw: bytes) -> list[tuple[int, int]]:
    """The flags and numbers of the VLANs that a message tells."""
    found = decoded(raw)
    assert found["family"] == AF_BRIDGE
    infos = found.get_attr("IFLA_AF_SPEC").get_attrs("IFLA_BRIDGE_VLAN_INFO")
    return [(info["flags"], info["vid"]) for info in infos]


def test_a_ports_settings() -> None:
    found = decoded(bridge.port(9, hairpin=True, isolated=False))
    assert (found["header"]["type"], found["family"]) == (RTM_SETLINK, AF_BRIDGE)
    settings = found.get_attr("IFLA_PROTINFO")
    assert settings.get_attr("IFLA_BRPORT_MODE") == 1
    assert settings.get_attr("IFLA_BRPORT_ISOLATED") == 0


def test_vlans_of_a_port() -> None:
    assert vlans(bridge.native_vlan(9, 100)) == [(PVID_UNTAGGED, 100)]
    assert vlans(bridge.tagged_vlans(9, 7, 7)) == [(0, 7)]
    assert vlans(bridge.tagged_vlans(9, 200, 300)) == [(RANGE_BEGIN, 200), (RANGE_END, 300)]
    assert vlans(bridge.leave_vlan(9, 1)) == [(0, 1)]
    assert decoded(bridge.leave_vlan(9, 1))["header"]["type"] == RTM_DELLINK


def test_a_bridge_that_filters_vlans() -> None:
    found = decoded(bridge.filter_vlans(9))
    assert found["header"]["type"] == RTM_NEWLINK
    info = found.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "bridge"
    assert info.get_attr("IFLA_INFO_DATA").get_attr("IFLA_BR_VLAN_FILTERING") == 1


def test_a_promiscuous_bridge() -> None:
    found = decoded(reception.change(9, promiscuous=True))
    assert (found["flags"], found["change"]) == (0x100, 0x100)


def test_a_group_of_devices() -> None:
    found = decoded(bridge.join_group(9, 1 << 30))
    assert (found["header"]["type"], found.get_attr("IFLA_GROUP")) == (RTM_NEWLINK, 1 << 30)
    gone = decoded(bridge.remove_group(1 << 30))
    assert (gone["header"]["type"], gone["index"], gone.get_attr("IFLA_GROUP")) == (RTM_DELLINK, 0, 1 << 30)
