"""RTM_*QDISC and RTM_*TFILTER: token buckets, and what comes in by one device led to another (linux/pkt_sched.h,
linux/pkt_cls.h, linux/tc_act/tc_mirred.h).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nankeen.kernel.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    attribute,
    attributes,
    message,
    nested,
    read_string,
    string,
    u32,
)
from nankeen.model.shaping import TokenBucket

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_GETTFILTER = 44, 46
ROOT = 0xFFFF_FFFF
"""TC_H_ROOT: the parent of the qdisc that a device sends by."""
INGRESS = 0xFFFF_FFF1
"""TC_H_INGRESS: the parent of the one that what it receives passes first."""
_INGRESS_HANDLE = 0xFFFF_0000

TCMSG = struct.Struct("=BBHiIII")
RATE = struct.Struct("=BBHhHI")
"""struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu and rate."""
_NO_RATE = bytes(RATE.size)
SELECTOR = struct.Struct("=BBBxHHhhI")
"""struct tc_u32_sel: flags, offshift, nkeys, offmask, off, offoff, hoff and hmask."""
_KEY = struct.Struct("=IIii")
_MIRRED = struct.Struct("=IIiiiiI")
"""struct tc_mirred: tc_gen (index, capab, action, refcnt, bindcnt), eaction and ifindex."""
_ETH_P_ALL = 0x0003

_KIND, _OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_U32_CLASSID, _U32_SEL, _U32_ACT = 1, 5, 7
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_U32_TERMINAL, _ACT_STOLEN, _EGRESS_REDIR = 1, 4, 1
_ETHERNET = 1
"""TC_LINKLAYER_ETHERNET: the kernel computes by the rate, and wants no table of it."""
_TICK = 64
"""Nanoseconds (PSCHED_SHIFT in net/pkt_sched.h)."""
_U32 = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline, as far as we have to do with it."""

    index: int
    """Its device's interface index."""
    kind: str
    parent: int
    rate: int = 0
    """Of a token bucket, in bytes a second."""
    fill: int = 0
    """How long the empty bucket takes to fill, in ticks of 64 ns: its lowest 32 bits."""

    def holds(self, wanted: TokenBucket) -> bool:
        """Whether it is that bucket. The kernel computes the time from the burst by shifts, and so not exactly."""
        return self.kind == "tbf" and self.rate == wanted.rate and is_fill_of(self.fill, wanted)


def fill(bucket: TokenBucket) -> int:
    """How long the empty bucket takes to fill, in ticks of 64 ns."""
    return bucket.burst * 1_000_000_000 // bucket.rate // _TICK


def is_fill_of(found: int, bucket: TokenBucket) -> bool:
    """Whether that is the bucket's time, as far as the kernel's 32 bits tell."""
    return is_about(found, fill(bucket) & _U32)


def is_about(found: int, wanted: int) -> bool:
    """Whether that is the wanted time, but for rounding."""
    return abs(found - wanted) <= max(2, wanted // 1000)


def token_bucket(index: int, bucket: TokenBucket) -> bytes:
    """What the device sends passes the bucket, in the place of whatever qdisc there was."""
    rate = RATE.pack(0, _ETHERNET, 0, 0, 0, min(bucket.rate, _U32))
    parameters = rate + _NO_RATE + struct.pack("=III", bucket.queue, 0, 0)
    options = attribute(_TBF_PARMS, parameters) + u32(_TBF_BURST, bucket.burst)
    if bucket.rate > _U32:
        options += attribute(_TBF_RATE64, struct.pack("=Q", bucket.rate))
    body = head(index, 0x0001_0000, ROOT) + string(_KIND, "tbf") + nested(_OPTIONS, options)
    return message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body)


def ingress(index: int) -> bytes:
    """What the device receives is looked at by filters from now on."""
    body = head(index, _INGRESS_HANDLE, INGRESS) + string(_KIND, "ingress")
    return message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body)


def redirect(index: int, to: int) -> bytes:
    """All that the device receives is sent by another one: an IFB gives it back afterwards."""
    action = nested(_ACT_OPTIONS, attribute(_MIRRED_PARMS, _MIRRED.pack(0, 0, _ACT_STOLEN, 0, 0, _EGRESS_REDIR, to)))
    selector = SELECTOR.pack(_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + _KEY.pack(0, 0, 0, 0)
    options = attribute(_U32_SEL, selector) + nested(_U32_ACT, nested(1, string(_ACT_KIND, "mirred"), action))
    information = 1 << 16 | struct.unpack("=H", struct.pack("!H", _ETH_P_ALL))[0]
    body = TCMSG.pack(0, 0, 0, index, 0, _INGRESS_HANDLE, information) + string(_KIND, "u32")
    return message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body + nested(_OPTIONS, options))


def remove(index: int, parent: int) -> bytes:
    """Takes a qdisc away, with its filters and classes."""
    return message(RTM_DELQDISC, 0, head(index, 0, parent))


def dump(index: int) -> bytes:
    """Asks for the qdiscs of a device; older kernels tell those of all."""
    return message(RTM_GETQDISC, 0, head(index, 0, 0))


def dump_filters(index: int) -> bytes:
    """Asks for the filters that see what a device receives."""
    return message(RTM_GETTFILTER, 0, head(index, 0, _INGRESS_HANDLE))


def parse(body: bytes) -> Qdisc:
    """The qdisc that a message tells of."""
    _, _, _, index, _, parent, _ = TCMSG.unpack_from(body)
    found = attributes(body, TCMSG.size)
    kind = read_string(found.get(_KIND, b""))
    if kind != "tbf":
        return Qdisc(index, kind, parent)
    options = attributes(found.get(_OPTIONS, b""))
    parameters = options[_TBF_PARMS]
    rate: int = RATE.unpack_from(parameters)[5]
    if _TBF_RATE64 in options:
        rate = struct.unpack("=Q", options[_TBF_RATE64])[0]
    _, fill, _ = struct.unpack_from("=III", parameters, 2 * RATE.size)
    return Qdisc(index, kind, parent, rate, fill)


def parse_redirect(body: bytes) -> int | None:
    """The interface index of the device that a filter leads to; None where it leads to none."""
    options = attributes(attributes(body, TCMSG.size).get(_OPTIONS, b""))
    for action in attributes(options.get(_U32_ACT, b"")).values():
        found = attributes(action)
        if read_string(found.get(_ACT_KIND, b"")) == "mirred":
            parameters = attributes(found.get(_ACT_OPTIONS, b"")).get(_MIRRED_PARMS, b"")
            to: int = _MIRRED.unpack_from(parameters)[6]
            return to
    return None


def head(index: int, handle: int, parent: int) -> bytes:
    return TCMSG.pack(0, 0, 0, index, handle, parent, 0)
