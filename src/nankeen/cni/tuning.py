"""What the reference plugin tuning changes of a pod's interface and namespace, and who asks for it.

{"type": "tuning", "sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1"}, "mac": "02:…",
 "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 2000}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nankeen.cni.error import CniError, Code
from nankeen.cni.reading import station
from nankeen.model.address import HardwareAddress
from nankeen.model.errors import InputError
from nankeen.model.gojson import Fields, show
from nankeen.model.state import Sysctl

_MIN_MTU, _MAX_MTU = 68, 65_535
_MAX_QUEUE = 1_000_000
"""Packets."""
_MOST_SETTINGS = 256
_LONGEST_VALUE = 1024
_PLACE = "IFNAME"
"""What stands for the interface in a setting's name."""
_PART = re.compile(r"[A-Za-z0-9_\-@:]+(?:\.[A-Za-z0-9_\-@:]+)*", re.ASCII)
"""Between two slashes: a device may have a point in its name, but nothing is made of points alone."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is to be changed; None and nothing leave a thing as it is."""

    settings: tuple[Sysctl, ...] = ()
    """Of the pod's namespace."""
    hardware_address: HardwareAddress | None = None
    mtu: int | None = None
    """In bytes, of the pod's end."""
    promiscuous: bool | None = None
    all_multicast: bool | None = None
    queue_length: int | None = None
    """In packets."""


def parse_tuning(fields: Fields, given: Fields | None, args: str, interface: str) -> Tuning:
    """What a configuration asks for; `args.cni` goes before `runtimeConfig`, that before `args`, which is the MAC of
    CNI_ARGS, and that before the configuration, as with the reference plugin. Raises `CniError` and `InputError`.
    """
    outer = fields.object("args")
    inner = outer.object("cni") if outer is not None else None
    told = [item for item in (inner, fields) if item is not None]
    addresses = [inner.string("mac") if inner else "", given.string("mac") if given else "", args, fields.string("mac")]
    address = next(filter(None, addresses), "")
    queue = next((item for item in told if item.raw("txQLen") is not None), None)
    return Tuning(
        settings=_settings(told, interface),
        hardware_address=station(address, "mac") if address else None,
        mtu=next((mtu for item in told if (mtu := _mtu(item))), None),
        promiscuous=_flag(told, "promisc") or None,
        all_multicast=_flag(told, "allmulti"),
        queue_length=None if queue is None else queue.integer("txQLen", 0, 0, _MAX_QUEUE),
    )


def _flag(told: list[Fields], key: str) -> bool | None:
    """The first that says anything; promiscuity is never taken away, as nobody says `false` and means it."""
    found = next((item for item in told if item.raw(key) is not None), None)
    return None if found is None else found.boolean(key, default=False)


def _mtu(fields: Fields) -> int:
    mtu = fields.integer("mtu", 0, 0, _MAX_MTU)
    if 0 < mtu < _MIN_MTU:
        raise fields.refusal("mtu", f"it must be {_MIN_MTU} to {_MAX_MTU}, or 0")
    return mtu


def _settings(told: list[Fields], interface: str) -> tuple[Sysctl, ...]:
    found: dict[str, Sysctl] = {}
    for fields in reversed(told):
        members = fields.object("sysctl")
        for name, value in (members.besides() if members is not None else {}).items():
            if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_VALUE:
                problem = f"{show(name)} is {show(value)}"
                raise InputError(problem, where="sysctl", remedy="a value is a string in one line")
            setting = Sysctl(_path(name, interface), value)
            found[setting.path] = setting
    if len(found) > _MOST_SETTINGS:
        raise InputError(f"there are {len(found)} settings", where="sysctl", remedy=f"{_MOST_SETTINGS} at most")
    return tuple(found.values())


def _path(name: str, interface: str) -> str:
    """The setting's path below /proc/sys. With a slash before the first point, slashes part the name (sysctl(8))."""
    slashed = "/" in name and name.find("/") < (name.find(".") if "." in name else len(name))
    parts = name.split("/") if slashed else [part.replace("/", ".") for part in name.split(".")]
    if len(parts) < 3 or parts[0] != "net" or not all(_PART.fullmatch(part) for part in parts):
        remedy = "those of the pod's network are served: net.core.somaxconn, net.ipv4.conf.IFNAME.arp_filter"
        raise CniError(Code.INVALID_CONFIG, f"invalid net sysctl key: {show(name)}", where="sysctl", remedy=remedy)
    return "/".join(interface if part == _PLACE else part for part in parts)
