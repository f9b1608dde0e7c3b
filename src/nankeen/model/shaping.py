"""How much of a pod's traffic may pass: limits as they are asked for, and the token buckets that hold them.

A bucket fills at the rate up to the burst; a packet passes when it holds as many tokens as the packet has bytes, and
waits in the queue until then (tc-tbf(8)). In any time t no more passes than burst + rate · t.
"""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.model.address import IPNetwork

WHOLE_PACKET = 80 * 1024
"""Bytes of the largest packet that a sender leaves to be segmented (64 KiB), with the headers of all its segments."""
SMALLEST_BURST = 16 * 1024
"""Bytes. A packet larger than the burst never passes, so the burst holds one of any usual MTU."""
USUAL_BURST_SECONDS = 0.1
QUEUE_SECONDS = 0.025
"""How long packets wait at most, beside one that is whole."""
_MOST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Limit:
    """What is asked for, for one direction."""

    rate: int
    """Bytes a second."""
    burst: int | None
    """Bytes; None where nobody says."""

    def bucket(self, mtu: int) -> TokenBucket:
        """What holds it, for a device of that MTU."""
        burst = max(int(self.rate * USUAL_BURST_SECONDS), WHOLE_PACKET) if self.burst is None else self.burst
        return TokenBucket(
            rate=self.rate,
            burst=min(max(burst, SMALLEST_BURST, mtu + 18), _MOST),
            queue=min(WHOLE_PACKET + int(self.rate * QUEUE_SECONDS), _MOST),
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """Which packets a limit is for."""

    networks: tuple[IPNetwork, ...] = ()
    """Far ends that make a difference; none where all are the same."""
    spares: bool = True
    """Whether those are spared; else they alone are limited."""
    by_source: bool = True
    """Whether the far end is where a packet comes from; else where it goes to."""


@dataclass(frozen=True, slots=True)
class Shaping:
    """The limits of one pod."""

    received: Limit | None = None
    """Of what the pod receives: `ingress` in the words of CNI and Kubernetes."""
    sent: Limit | None = None
    """Of what it sends: `egress`."""
    subnets: tuple[IPNetwork, ...] = ()
    """Far ends that make a difference; none where all are the same."""
    spares: bool = True
    """Whether what comes from those subnets, or goes there, is spared; else it alone is limited."""

    @property
    def scopes(self) -> tuple[Scope, Scope]:
        """Of what is received, and of what is sent."""
        return Scope(self.subnets, self.spares), Scope(self.subnets, self.spares, by_source=False)

    def __bool__(self) -> bool:
        return self.received is not None or self.sent is not None


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """A token bucket with its queue."""

    rate: int
    """Bytes a second."""
    burst: int
    """Bytes."""
    queue: int
    """Bytes that wait; what comes besides is dropped."""

    def __str__(self) -> str:
        return f"rate {self.rate * 8} bit/s, burst {self.burst} bytes"
