"""A name that is not there: the error says which ones come near it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from nankeen.model.errors import InputError
from nankeen.model.printable import LONGEST_NAME, printable

_NEAR, _KNOWN = 3, 10
"""How many names are told: those that come near, and, where none does, of those that there are."""


def unknown(word: str, names: Iterable[str], what: str, besides: Iterable[str] = ()) -> InputError:
    """The error about a word that is none of the names. `what` they are: "node or pod". `besides` are other words that
    may have been meant.
    """
    known = list(names)
    near = get_close_matches(word[:LONGEST_NAME], [*known, *besides], n=_NEAR, cutoff=0.5)
    more = " …" if len(known) > _KNOWN else ""
    return InputError(
        f"there is no such {what}",
        where=printable(word, LONGEST_NAME),
        remedy=f"did you mean {' or '.join(map(printable, near))}?"
        if near
        else f"there are: {' '.join(map(printable, known[:_KNOWN]))}{more}",
    )
