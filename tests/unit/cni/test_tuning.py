"""What a member `tuning` may ask for, and what it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nankeen.cni.error import CniError, Code
from nankeen.cni.tuning import Tuning, parse_tuning
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.gojson import parse_object
from nankeen.model.state import Sysctl


def parse(asked: str = "", /, **members: Any) -> Tuning:  # noqa: ANN401
    fields = parse_object(json.dumps(members), "test")
    return parse_tuning(fields, fields.object("runtimeConfig"), asked, "eth0")


def test_every_option_is_understood() -> None:
    found = parse(
        sysctl={"net.core.somaxconn": "500", "net/ipv4/conf/IFNAME/arp_filter": "1"},
        mac="02:00:00:00:00:07",
        mtu=1400,
        promisc=True,
        allmulti=False,
        txQLen=2000,
        dataDir="/run/cni/tuning",
    )
    assert found == Tuning(
        settings=(Sysctl("net/core/somaxconn", "500"), Sysctl("net/ipv4/conf/eth0/arp_filter", "1")),
        hardware_address=HardwareAddress.parse("02:00:00:00:00:07"),
        mtu=1400,
        promiscuous=True,
        all_multicast=False,
        queue_length=2000,
    )


def test_nothing_asked_for_changes_nothing() -> None:
    assert parse() == parse(promisc=False, mtu=0, mac="", sysctl={}) == Tuning()


def test_who_asks_goes_before_the_configuration() -> None:
    last = {"mac": "02:00:00:00:00:01"}
    env = "02:00:00:00:00:02"
    runtime = {"runtimeConfig": {"mac": "02:00:00:00:00:03"}}
    first: dict[str, Any] = {"args": {"cni": {"mac": "02:00:00:00:00:04", "mtu": 1300, "sysctl": {"net.a.b": "2"}}}}
    found = [parse(**last), parse(env, **last), parse(env, **last, **runtime), parse(env, **last, **runtime, **first)]
    assert [str(item.hardware_address)[-1] for item in found] == ["1", "2", "3", "4"]
    both = parse("", mtu=1400, sysctl={"net.a.b": "1", "net.a.c": "3"}, **first)
    assert (both.mtu, both.settings) == (1300, (Sysctl("net/a/b", "2"), Sysctl("net/a/c", "3")))


def test_a_device_with_a_point_in_its_name_can_be_named() -> None:
    path = "net/ipv4/conf/eth0.100/arp_filter"
    assert parse(sysctl={path: "1"}).settings == parse(sysctl={"net.ipv4.conf.eth0/100.arp_filter": "1"}).settings
    assert parse(sysctl={path: "1"}).settings[0].path == path


@pytest.mark.parametrize(
    "name",
    [
        "kernel.hostname",
        "vm.swappiness",
        "net",
        "net.x",
        "",
        ".net.core.somaxconn",
        "net..core.somaxconn",
        "net/../kernel/hostname",
        "net/core/../../kernel/hostname",
        "net.core./../../kernel/hostname",
        "net//core/somaxconn",
        "/net/core/somaxconn",
        "net/core/somaxconn/",
        "net/core/some conn",
        "net/core/a\0b",
        "net/core/\n",
        "netx/core/somaxconn",
        "NET.core.somaxconn",
    ],
)
def test_a_setting_of_anything_but_the_pods_network_is_code_7(name: str) -> None:
    with pytest.raises(CniError) as caught:
        parse(sysctl={name: "1"})
    assert caught.value.code is Code.INVALID_CONFIG


@given(st.text(alphabet="net./ipv4A\0 -\n", max_size=40))
def test_whatever_a_setting_is_called_its_path_stays_below_net(name: str) -> None:
    try:
        (setting,) = parse(sysctl={f"net.{name}": "1"}).settings
    except CniError:
        return
    head, *parts = setting.path.split("/")
    assert head == "net"
    assert not {"", ".", ".."}.intersection(parts)
    assert setting.path.isprintable()


@pytest.mark.parametrize(
    "members",
    [
        {"sysctl": []},
        {"sysctl": {"net.a.b": 5}},
        {"sysctl": {"net.a.b": "1\n2"}},
        {"sysctl": {"net.a.b": "1" * 1025}},
        {"sysctl": {f"net.a.b{number}": "1" for number in range(257)}},
        {"mac": "02:00:00:00:00"},
        {"mac": "01:00:00:00:00:00"},
        {"mac": 5},
        {"mtu": 67},
        {"mtu": "1400"},
        {"promisc": "yes"},
        {"allmulti": 1},
        {"txQLen": -1},
        {"txQLen": "many"},
        {"args": {"cni": {"mac": "x"}}},
        {"runtimeConfig": {"mac": "x"}},
    ],
)
def test_a_wrong_option_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        parse(**members)


def test_a_wrong_hardware_address_of_cni_args_is_refused() -> None:
    with pytest.raises(InputError):
        parse("x")
