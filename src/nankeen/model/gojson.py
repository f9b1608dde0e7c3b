"""JSON as Go's encoding/json reads it, because all of flannel and of the CNI plugins reads it so (RFC 8259, loosely).

Keys match in any case, unknown keys are ignored, the last of duplicate keys wins, null leaves a field as it was, and
bytes that are not UTF-8 become U+FFFD. An integer is written without point and exponent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import NoReturn, TypeAlias

from nankeen.model.errors import InputError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
DEEPEST = 64
"""Objects and lists within each other at most: what could be read, but not be written again, is refused here."""
_SHOWN = 60
"""How many characters of a wrong value an error quotes."""


def parse_object(text: str | bytes, where: str, error: type[InputError] = InputError, prefix: str = "") -> Fields:
    """The members of the object that `text` holds; raises `error`, which names `where`, for anything else."""
    value = parse_value(text, where, error)
    if not isinstance(value, dict):
        raise error(f"{show(value)} is no JSON object", where=where, remedy="it must be written in braces: {…}")
    return Fields(value, where, error, prefix)


def parse_value(text: str | bytes, where: str, error: type[InputError] = InputError) -> JSON:
    """The value that `text` holds; raises `error`, which names `where`."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    try:
        value: JSON = _DECODER.decode(text)
    except json.JSONDecodeError as wrong:
        place = f"at line {wrong.lineno}, column {wrong.colno}"
        raise error(f"not JSON: {wrong.msg} {place}", where=where, remedy="write a JSON object") from wrong
    except RecursionError as wrong:
        raise error("JSON nested too deeply", where=where, remedy="write a flat object") from wrong
    except ValueError as wrong:  # a number beyond all measure, or none
        raise error(f"not JSON: {wrong}"[:200], where=where, remedy="write a JSON object") from wrong
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise error("JSON nested too deeply", where=where, remedy="write a flat object")
    if "\\u" in text:
        _refuse_half_characters(value, where, error)
    return value


def compact(value: JSON) -> str:
    """The value as Go writes it: no spaces, and `<`, `>`, `&` and two separators escaped."""
    return escape(_ENCODER.encode(value))


def escape(text: str) -> str:
    """JSON text with the characters escaped that Go escapes for the sake of HTML and JavaScript."""
    return text.translate(_ESCAPES)


def show(value: object) -> str:
    """A wrong value in one line, as an error quotes it."""
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class Fields:
    """The members of one object, asked for by key. What is wrong is told by the key, the value and what is allowed."""

    __slots__ = ("_error", "_members", "_prefix", "_spelling", "_where")

    def __init__(
        self, members: Mapping[str, JSON], where: str, error: type[InputError] = InputError, prefix: str = ""
    ) -> None:
        """`prefix` is what stands before each key in an error, such as `Backend.` in front of `VNI`."""
        self._where, self._error, self._prefix = where, error, prefix
        self._members: dict[str, JSON] = {}
        self._spelling: dict[str, str] = {}
        for key, value in members.items():
            folded = key.casefold()
            if value is not None or folded not in self._members:
                self._members[folded] = value
                self._spelling[folded] = key

    def raw(self, key: str) -> JSON:
        """The value as it is; None where there is none."""
        return self._members.get(key.casefold())

    def string(self, key: str, default: str = "") -> str:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.refusal(key, "it must be a string")
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refusal(key, "it must be true or false")
        return value

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both allowed."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refusal(key, f"it must be a whole number from {low} to {high}")
        return value

    def object(self, key: str) -> Fields | None:
        """The members of an object within; None where there is none."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refusal(key, "it must be an object: {…}")
        return Fields(value, self._where, self._error, f"{self._prefix}{key}.")

    def objects(self, key: str, most: int) -> list[Fields]:
        """The objects of a list, `most` at most; none where there is no list."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, dict) for item in value):
            raise self.refusal(key, f"it must be a list of at most {most} objects")
        return [
            Fields(item, self._where, self._error, f"{self._prefix}{key}[{number}].")
            for number, item in enumerate(value)
            if isinstance(item, dict)
        ]

    def besides(self, *keys: str) -> dict[str, JSON]:
        """All members but these, spelled as they were found."""
        known = {key.casefold() for key in keys}
        return {self._spelling[folded]: value for folded, value in self._members.items() if folded not in known}

    def refusal(self, key: str, allowed: str) -> InputError:
        """The error that refuses the value of `key`."""
        return self._error(f"{self._prefix}{key} is {show(self.raw(key))}", where=self._where, remedy=allowed)


def _last_wins(pairs: Iterable[tuple[str, JSON]]) -> dict[str, JSON]:
    members: dict[str, JSON] = {}
    for key, value in pairs:
        if key in members:
            if value is None:
                continue
            del members[key]  # so that it stands after other spellings of the key
        members[key] = value
    return members


def _is_deep(value: JSON) -> bool:
    """Whether more are within each other than may be. Without recursion, which ends somewhere by itself."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = [
            list(item.values()) if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)
        ]
        level = [item for items in inner for item in items]
    return bool(level)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    """One that could be written again: 1e999 is JSON, and infinite."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:_SHOWN]} is too large a number")
    return number


def _refuse_half_characters(value: JSON, where: str, error: type[InputError]) -> None:
    """Half a surrogate pair can be written as an escape, but never as UTF-8 again."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as wrong:
        raise error("a string holds half a character", where=where, remedy="write it as UTF-8") from wrong


_DECODER = json.JSONDecoder(object_pairs_hook=_last_wins, parse_constant=_refuse_constant, parse_float=_number)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPES = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"})
