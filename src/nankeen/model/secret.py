"""A secret: it is compared and handed on like any value, and never shown."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A key in octets. Neither `str()` nor `repr()` tells it, so that no log, error or status can."""

    octets: bytes = field(repr=False)

    def __str__(self) -> str:
        return "(hidden)"
