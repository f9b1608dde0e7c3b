"""Values of a network configuration, read out of their JSON: what each raises names the key, and what is allowed."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv6Interface

from nankeen.cni.error import CniError, Code
from nankeen.model.address import HardwareAddress, IPAddress, IPInterface, IPNetwork, parse_address, parse_network
from nankeen.model.errors import InputError
from nankeen.model.gojson import Fields

MAX_INTERFACE_NAME = 15
"""Longest interface name, in bytes: IFNAMSIZ - 1 (linux/if.h)."""
_PREFIXED = re.compile(r"[0-9a-fA-F:.]+/[0-9]{1,3}")
_MOST = 64
"""Entries of a list of texts at most."""


def address(fields: Fields, key: str) -> IPAddress | None:
    """An IP address; None where there is none. Raises `InputError`."""
    text = fields.string(key)
    if not text:
        return None
    try:
        return parse_address(text)
    except InputError as error:
        raise fields.refusal(key, "it must be an IP address") from error


def cidr(fields: Fields, key: str) -> IPInterface:
    """An address and the length of the network it is on. Raises `InputError`."""
    found = parse_cidr(fields.string(key))
    if found is None:
        raise fields.refusal(key, "it must be written as 10.5.34.2/24")
    return found


def network(fields: Fields, key: str) -> IPNetwork:
    """A network; bits of the host are dropped. Raises `InputError`."""
    try:
        return parse_network(fields.string(key))
    except InputError as error:
        raise fields.refusal(key, "it must be written as 10.5.0.0/16") from error


def strings(fields: Fields, key: str) -> tuple[str, ...]:
    """A list of texts; none where there is no list. Raises `InputError`."""
    value = fields.raw(key)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MOST:
        raise fields.refusal(key, f"it must be a list of at most {_MOST} strings")
    texts = tuple(item for item in value if isinstance(item, str))
    if len(texts) < len(value):
        raise fields.refusal(key, f"it must be a list of at most {_MOST} strings")
    return texts


def station(text: str, where: str) -> HardwareAddress:
    """A hardware address that an interface can have: of one station. Raises `InputError`."""
    try:
        found = HardwareAddress.parse(text)
    except InputError as error:
        raise InputError(error.problem, where=where, remedy=error.remedy) from error
    if found.is_multicast or found.is_zero:
        raise InputError(f"{found} is no station's address", where=where, remedy="the first octet must be even")
    return found


def parse_cidr(text: str) -> IPInterface | None:
    """From `10.5.34.2/24`; None where the text is none."""
    if not _PREFIXED.fullmatch(text):
        return None
    try:
        return IPv6Interface(text) if ":" in text else IPv4Interface(text)
    except ValueError:
        return None


def check_interface_name(name: str, where: str, code: Code) -> None:
    """Raises `CniError` where the kernel would not take the name, or would take it for something else."""
    if (
        len(name.encode()) > MAX_INTERFACE_NAME
        or name in ("", ".", "..")
        or not name.isprintable()
        or any(character in "/:%" or character.isspace() for character in name)
    ):
        problem = f"{name!r} is not an interface name"
        raise CniError(code, problem, where=where, remedy="at most 15 bytes, without space, '/', ':' or '%'")
