"""Token buckets for a part of what a device sends: a class of tc-htb(8), and filters that tell what is in it.

    1:      htb; what is in no class passes at once
    1:30    the class, with a queue of bytes
    u32     a network by its bits in the IP header ──▶ 1:30, or 1: where it is spared

See linux/pkt_sched.h (TCA_HTB_*) and linux/pkt_cls.h (TCA_U32_*).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from nankeen.kernel.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    attribute,
    attributes,
    message,
    nested,
    read_u32,
    string,
    u32,
)
from nankeen.kernel.netlink.qdisc import (
    RATE,
    ROOT,
    RTM_GETTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    SELECTOR,
    TCMSG,
    fill,
    head,
    is_about,
)
from nankeen.model.address import IPNetwork
from nankeen.model.shaping import TokenBucket

RTM_NEWTCLASS, RTM_GETTCLASS = 40, 42
_HANDLE, _CLASS, _NO_CLASS = 0x0001_0000, 0x0001_0030, 0
_KEY = struct.Struct("!IIii")
"""struct tc_u32_key: mask and value in network byte order; the offset is given in the host's."""
_VERSION, _QUANTUM = 3, 60_000
_ETHERNET, _TERMINAL = 1, 1
_U32 = (1 << 32) - 1
_KIND, _OPTIONS = 1, 2
_HTB_PARMS, _HTB_INIT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 6, 7
_U32_CLASSID, _U32_SEL = 1, 5
_PROTOCOLS = {4: 0x0800, 6: 0x86DD}
_SOURCE, _DESTINATION = {4: 12, 6: 8}, {4: 16, 6: 24}
"""Where the addresses are in the headers (RFC 791 §3.1, RFC 8200 §3), in bytes."""


@dataclass(frozen=True, slots=True)
class Share:
    """A class as it stands."""

    rate: int
    """Bytes a second."""
    fill: int
    """How long the empty bucket takes to fill, in ticks of 64 ns."""

    def holds(self, bucket: TokenBucket) -> bool:
        """Whether that is its bucket."""
        return self.rate == bucket.rate and is_about(self.fill, _fill(bucket))


def make(
    index: int, bucket: TokenBucket, networks: tuple[IPNetwork, ...], *, spares: bool, source: bool
) -> list[bytes]:
    """What holds packets from those networks, or to them where not `source`, to the bucket; or all the others.

    The device must have no qdisc of its own.
    """
    start = struct.pack("=IIIII", _VERSION, 10, _CLASS & 0xFFFF if spares else _NO_CLASS, 0, 0)
    root = head(index, _HANDLE, ROOT) + string(_KIND, "htb") + nested(_OPTIONS, attribute(_HTB_INIT, start))
    queue = string(_KIND, "bfifo") + attribute(_OPTIONS, struct.pack("=I", bucket.queue))
    return [
        message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, root),
        message(RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_EXCL, head(index, _CLASS, _HANDLE) + _class(bucket)),
        message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, head(index, 0, _CLASS) + queue),
        *(_filter(index, network, _HANDLE if spares else _CLASS, source=source) for network in networks),
    ]


def dump_classes(index: int) -> bytes:
    """Asks for the classes of a device."""
    return message(RTM_GETTCLASS, 0, head(index, 0, 0))


def dump_filters(index: int) -> bytes:
    """Asks for the filters of what it sends."""
    return message(RTM_GETTFILTER, 0, head(index, 0, _HANDLE))


def parse_class(body: bytes) -> Share | None:
    """Our class; None for another one."""
    _, _, _, _, handle, _, _ = TCMSG.unpack_from(body)
    options = attributes(attributes(body, TCMSG.size).get(_OPTIONS, b""))
    if handle != _CLASS or _HTB_PARMS not in options:
        return None
    rate: int = RATE.unpack_from(options[_HTB_PARMS])[5]
    if _HTB_RATE64 in options:
        rate = struct.unpack("=Q", options[_HTB_RATE64])[0]
    return Share(rate, struct.unpack_from("=I", options[_HTB_PARMS], 2 * RATE.size)[0])


def parse_filter(body: bytes) -> tuple[IPNetwork, bool] | None:
    """The network that a filter of ours is about, and whether that is spared; None for another one."""
    options = attributes(attributes(body, TCMSG.size).get(_OPTIONS, b""))
    selector = options.get(_U32_SEL, b"")
    keys = [_KEY.unpack_from(selector, at) for at in range(SELECTOR.size, len(selector) - _KEY.size + 1, _KEY.size)]
    if not keys or _U32_CLASSID not in options:
        return None
    mask, value = (b"".join(struct.pack("!I", key[place]) for key in keys) for place in (0, 1))
    length = int.from_bytes(mask).bit_count()
    spared = read_u32(options[_U32_CLASSID]) == _HANDLE
    return (IPv4Network((value, length)) if len(keys) == 1 else IPv6Network((value, length))), spared


def _class(bucket: TokenBucket) -> bytes:
    rate = RATE.pack(0, _ETHERNET, 0, 0, 0, min(bucket.rate, _U32))
    time = _fill(bucket)
    parameters = rate + rate + struct.pack("=IIIII", time, time, _QUANTUM, 0, 0)
    options = attribute(_HTB_PARMS, parameters)
    if bucket.rate > _U32:
        options += attribute(_HTB_RATE64, struct.pack("=Q", bucket.rate))
        options += attribute(_HTB_CEIL64, struct.pack("=Q", bucket.rate))
    return string(_KIND, "htb") + nested(_OPTIONS, options)


def _fill(bucket: TokenBucket) -> int:
    """No longer than there are bits for: 275 seconds."""
    return min(fill(bucket), _U32)


def _filter(index: int, network: IPNetwork, to: int, *, source: bool) -> bytes:
    at = (_SOURCE if source else _DESTINATION)[network.version]
    masks, values = network.netmask.packed, network.network_address.packed
    keys = [
        masks[place : place + 4] + values[place : place + 4] + struct.pack("=ii", at + place, 0)
        for place in range(0, len(masks), 4)
    ]
    selector = SELECTOR.pack(_TERMINAL, 0, len(keys), 0, 0, 0, 0, 0) + b"".join(keys)
    options = nested(_OPTIONS, u32(_U32_CLASSID, to), attribute(_U32_SEL, selector))
    protocol = struct.unpack("=H", struct.pack("!H", _PROTOCOLS[network.version]))[0]
    head = TCMSG.pack(0, 0, 0, index, 0, _HANDLE, network.version << 16 | protocol)
    return message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, head + string(_KIND, "u32") + options)
