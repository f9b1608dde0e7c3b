"""Types of options that click does not have."""

from __future__ import annotations

import math
from typing import NamedTuple

import click

from nankeen.model.address import IPAddress, parse_address
from nankeen.model.errors import InputError
from nankeen.model.printable import LONGEST_NAME, printable


class Address(NamedTuple):
    """Where to listen."""

    host: IPAddress
    port: int


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A number of seconds, a day at most."""

    name = "seconds"
    most = 86_400.0

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= self.most:  # false of what is no number, too
            shown = printable(str(value), LONGEST_NAME)
            self.fail(f"'{shown}' is not a number of seconds from {self.least:g} to {self.most:g}", param, ctx)
        return seconds


class Socket(click.ParamType):  # type: ignore[type-arg]  # as above
    """`127.0.0.1:9469` or `[::1]:9469`; port 0 is any that is free."""

    name = "address and port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        found = _address(str(value))
        if found is None:
            shown = printable(str(value), LONGEST_NAME)
            self.fail(f"'{shown}' is no address and port, such as 127.0.0.1:9469 or [::1]:9469", param, ctx)
        return found


def _address(text: str) -> Address | None:
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = parse_address(bare)
    except InputError:
        return None
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    has_brackets = bare != host
    return Address(address, int(port)) if is_port and has_brackets == (address.version == 6) else None
