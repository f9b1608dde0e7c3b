"""What came from outside, as it may be shown in a log, a status file or on a terminal. It may be hostile, and long."""

from __future__ import annotations

from hashlib import blake2b

LONGEST_NAME = 60
"""Characters of a name that are shown; the longest that a host can have are hardly ever met."""
LONGEST_LINE = 2000
"""Characters of a line that are shown."""

_DIGEST = 4  # octets


def printable(text: str, longest: int = LONGEST_LINE) -> str:
    """The text in one line, without anything that moves a cursor, and cut where it is longer.

    What is cut off leaves a digest behind, so that two texts stay two.
    """
    if len(text) > longest:
        text = f"{text[:longest]}…{blake2b(text.encode(errors='replace'), digest_size=_DIGEST).hexdigest()}"
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
