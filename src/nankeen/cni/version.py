"""The versions of the CNI specification that nankeen speaks, oldest first."""

from __future__ import annotations

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
ASSUMED = "0.1.0"
"""What a network configuration without `cniVersion` is taken to mean, as the reference library does."""


def at_least(version: str, minimum: str) -> bool:
    """Whether one supported version is the other or a later one."""
    return SUPPORTED.index(version) >= SUPPORTED.index(minimum)
