"""Limits of a pod's traffic as the reference plugin bandwidth takes them: in the configuration, or by the capability
`bandwidth` (CNI conventions, "Dynamic Plugin specific fields").

{"ingressRate": 8000000, "ingressBurst": 1000000, "egressRate": …, "egressBurst": …}     bits a second, and bits
"""

from __future__ import annotations

from nankeen.cni.reading import parse_cidr, strings
from nankeen.model.address import IPNetwork
from nankeen.model.gojson import Fields
from nankeen.model.shaping import Limit, Shaping

NO_LIMITS = Shaping()

_KEYS = ("ingressRate", "ingressBurst", "egressRate", "egressBurst", "unshapedSubnets", "shapedSubnets")
_HIGHEST_RATE = 10**15
"""Bits a second: what Kubernetes allows at most."""
_HIGHEST_BURST = 8 * ((1 << 32) - 1) - 1
"""Bits: 4 GB, as the reference plugin says."""
_NOBODY_SAID = frozenset({(1 << 32) - 1, (1 << 31) - 1})
"""Bursts that runtimes write where a pod names a rate alone: containerd and CRI-O the former, others the latter. Taken
at their word, half a gigabyte would pass before any limit held.
"""


def parse_bandwidth(fields: Fields, given: Fields | None) -> Shaping:
    """The limits, by the configuration or else by `runtimeConfig`. Raises `InputError`."""
    own = any(fields.raw(key) is not None for key in _KEYS)
    found = fields if own else given.object("bandwidth") if given is not None else None
    if found is None:
        return NO_LIMITS
    spared, shaped = _subnets(found, "unshapedSubnets"), _subnets(found, "shapedSubnets")
    if spared and shaped:
        raise found.refusal("shapedSubnets", "there must not be unshapedSubnets, too")
    return Shaping(
        received=_limit(found, "ingressRate", "ingressBurst"),
        sent=_limit(found, "egressRate", "egressBurst"),
        subnets=spared or shaped,
        spares=not shaped,
    )


def _limit(fields: Fields, rate_key: str, burst_key: str) -> Limit | None:
    rate = fields.integer(rate_key, 0, 0, _HIGHEST_RATE)
    burst = fields.integer(burst_key, 0, 0, _HIGHEST_BURST)
    if not rate and not burst:
        return None
    if not burst:
        raise fields.refusal(burst_key, f"if {rate_key} is set, it must also be set")
    if rate < 8:
        raise fields.refusal(rate_key, f"if {burst_key} is set, it must be 8 bits a second at least")
    return Limit(rate // 8, None if burst in _NOBODY_SAID else burst // 8)


def _subnets(fields: Fields, key: str) -> tuple[IPNetwork, ...]:
    found = [parse_cidr(text) for text in strings(fields, key)]
    if None in found:
        raise fields.refusal(key, "it must be a list of networks: 10.5.0.0/16")
    return tuple(dict.fromkeys(item.network for item in found if item is not None))
