"""A filter's words read: host, net, port, src, dst, kinds of packets, and, or, not, brackets, inner and outer.

    expression = conjunction { ("or" | "||") conjunction }
    conjunction = factor { ("and" | "&&") factor }
    factor = ("not" | "!" | "inner" | "outer") factor | "(" expression ")" | term
    term = kind | "http" | "ftp" | "dns" | [side] "host" HOST | [side] "net" NETWORK | side (HOST | NETWORK)
         | ["tcp" | "udp"] [side] "port" PORT [ "-" PORT ]

What is wrong is told with the place: the filter again, and a caret below the word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_network

from nankeen.inspect.filter.expression import (
    And,
    Expression,
    InNetwork,
    Is,
    Kind,
    Level,
    Not,
    OnPort,
    Or,
    Side,
    Term,
)
from nankeen.model.address import IPAddress, IPNetwork, parse_address, parse_network
from nankeen.model.errors import InputError
from nankeen.model.printable import LONGEST_NAME, printable

LONGEST = 2000
"""Characters of a filter."""
DEEPEST = 50
"""Brackets and prefixes around a term."""

_KINDS = {kind.value: kind for kind in Kind}
_SIDES = {"src": Side.SOURCE, "dst": Side.DESTINATION}
_LEVELS = {"inner": Level.INNER, "outer": Level.OUTER}
_SERVICES: Mapping[str, tuple[tuple[tuple[int, int], ...], Kind | None]] = {
    "http": (((80, 80), (8000, 8000), (8080, 8080)), Kind.TCP),
    "ftp": (((20, 21),), Kind.TCP),
    "dns": (((53, 53),), None),
}
_AND, _OR, _NOT = ("and", "&&"), ("or", "||"), ("not", "!")
KEYWORDS = frozenset({*_KINDS, *_SIDES, *_LEVELS, *_SERVICES, *_AND, *_OR, *_NOT, "host", "net", "port", "(", ")"})
"""What a filter can begin with, or join terms by."""

_TOKEN = re.compile(r"\(|\)|!|&&|\|\||[^\s()!&|]+|[&|]")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    at: int
    """Where it begins in the filter."""


def parse(text: str, names: Mapping[str, Sequence[IPAddress]] | None = None) -> Expression:
    """The expression that a filter's words say; `names` are hosts that may be named by their name.

    Raises `InputError` with the place of what is wrong.
    """
    if len(text) > LONGEST:
        raise InputError(f"it has {len(text)} characters, more than {LONGEST}", where="filter")
    return _Parser(text, names or {}).whole()


class _Parser:
    """Reads words from left to right."""

    def __init__(self, text: str, names: Mapping[str, Sequence[IPAddress]]) -> None:
        self._text, self._names = text, names
        self._words = [_Word(found.group(), found.start()) for found in _TOKEN.finditer(text)]
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._alternatives(Level.ANY)
        if self._next < len(self._words):
            word = self._take()
            raise self._wrong(word, "unexpected", "join terms with and, or")
        return expression

    def _alternatives(self, level: Level) -> Expression:
        found = self._conjunction(level)
        while self._skips(_OR):
            found = Or(found, self._conjunction(level))
        return found

    def _conjunction(self, level: Level) -> Expression:
        found = self._factor(level)
        while self._skips(_AND):
            found = And(found, self._factor(level))
        return found

    def _factor(self, level: Level) -> Expression:
        word = self._take()
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._wrong(word, "too deep inside of others", f"{DEEPEST} levels are allowed")
        found = self._prefixed(word, level)
        self._depth -= 1
        return found

    def _prefixed(self, word: _Word, level: Level) -> Expression:
        if word.text in _NOT:
            return Not(self._factor(level))
        if word.text in _LEVELS:
            if level not in (Level.ANY, _LEVELS[word.text]):
                raise self._wrong(word, f"contradicts the {level.value} before it", "take one of them away")
            return self._factor(_LEVELS[word.text])
        if word.text == "(":
            found = self._alternatives(level)
            closing = self._take(")")
            if closing.text != ")":
                raise self._wrong(closing, "unexpected", "join terms with and, or, or close the bracket")
            return found
        return self._term(word, level)

    def _term(self, word: _Word, level: Level) -> Term:
        text = word.text
        if text in _SERVICES:
            ranges, kind = _SERVICES[text]
            return OnPort(ranges, Side.EITHER, kind, level)
        if text in ("tcp", "udp") and self._peek() in ("port", *_SIDES):
            side = self._side()
            self._expect("port")
            return self._port(side, _KINDS[text], level)
        if text in _KINDS:
            return Is(_KINDS[text], level)
        if text in _SIDES:
            return self._sided(_SIDES[text], level)
        if text in ("host", "net", "port"):
            return self._said(text, Side.EITHER, level)
        raise self._wrong(word, "no word of a filter", _nearest(text, KEYWORDS, "say host, net, port, tcp, icmp …"))

    def _sided(self, side: Side, level: Level) -> Term:
        """What `src` and `dst` are about; an address or network may stand there by itself."""
        what = self._peek()
        if what in ("host", "net", "port"):
            self._take()
            return self._said(what, side, level)
        return self._said("net" if "/" in what else "host", side, level)

    def _said(self, what: str, side: Side, level: Level) -> Term:
        match what:
            case "port":
                return self._port(side, None, level)
            case "net":
                return InNetwork((self._network(),), side, level)
            case _:
                return InNetwork(self._host(), side, level)

    def _side(self) -> Side:
        return _SIDES[self._take().text] if self._peek() in _SIDES else Side.EITHER

    def _host(self) -> tuple[IPNetwork, ...]:
        word = self._take("an address or a name")
        if word.text in self._names:
            return tuple(ip_network(address) for address in self._names[word.text])
        try:
            return (ip_network(parse_address(word.text)),)
        except InputError as error:
            if "/" in word.text:
                raise self._wrong(word, "not a host", "write net before a network") from None
            raise self._wrong(
                word, "neither an address nor a name", _nearest(word.text, self._names, error.remedy)
            ) from None

    def _network(self) -> IPNetwork:
        word = self._take("a network")
        try:
            return parse_network(word.text)
        except InputError as error:
            raise self._wrong(word, "not a network", error.remedy) from None

    def _port(self, side: Side, kind: Kind | None, level: Level) -> OnPort:
        word = self._take("a port")
        found = _PORTS.fullmatch(word.text)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not low <= high <= 0xFFFF:
            raise self._wrong(word, "not a port", "write 80, or 8000-8080, up to 65535")
        return OnPort(((low, high),), side, kind, level)

    def _peek(self) -> str:
        return self._words[self._next].text if self._next < len(self._words) else ""

    def _skips(self, texts: Sequence[str]) -> bool:
        if self._peek() not in texts:
            return False
        self._next += 1
        return True

    def _expect(self, text: str) -> None:
        word = self._take(text)
        if word.text != text:
            raise self._wrong(word, "unexpected", f"write {text} there")

    def _take(self, wanted: str = "a term") -> _Word:
        if self._next == len(self._words):
            raise self._wrong(_Word("", len(self._text)), "it ends too early", f"{wanted} is missing at its end")
        self._next += 1
        return self._words[self._next - 1]

    def _wrong(self, word: _Word, problem: str, remedy: str) -> InputError:
        """With the filter and a caret below the word; what cannot be printed is one mark for each character."""
        shown = "".join(mark if mark.isprintable() else "�" for mark in self._text)
        caret = " " * word.at + "^" * max(len(word.text), 1)
        subject = f"{printable(word.text, LONGEST_NAME)!r}: " if word.text else ""
        return InputError(f"{subject}{problem}", where="filter", remedy=f"{remedy}\n    {shown}\n    {caret}")


def _nearest(text: str, known: Mapping[str, object] | frozenset[str], otherwise: str) -> str:
    near = get_close_matches(text[:LONGEST_NAME], sorted(known), n=3)
    return f"did you mean {' or '.join(near)}?" if near else otherwise
