"""What an administrator asks of the underlay: flannel's flags, parsed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from nankeen.model.address import Family, IPAddress, IPNetwork, parse_address
from nankeen.model.errors import InputError


@dataclass(frozen=True, slots=True)
class Wish:
    """Where nothing is asked, the device of the default route will do."""

    interfaces: tuple[str | IPAddress, ...] = ()
    """Names of interfaces, or addresses that they have: the first that can be used."""
    patterns: tuple[re.Pattern[str], ...] = ()
    """Asked when none of those can: what an address of the interface matches, else its name, anywhere in it."""
    can_reach: IPAddress | None = None
    """Asked last: the interface that leads to this address."""
    public: tuple[IPAddress, ...] = ()
    """What peers are told, one of each family at most. The node need not have it: think of NAT."""

    @classmethod
    def parse(
        cls,
        interfaces: Iterable[str] = (),
        patterns: Iterable[str] = (),
        can_reach: str = "",
        public_ip: str = "",
        public_ipv6: str = "",
    ) -> Wish:
        """From the flags' values; an empty one is as good as none. Raises `InputError` naming the flag."""
        public = [
            _address(text, flag, family)
            for text, flag, family in (
                (public_ip, "--public-ip", Family.IPV4),
                (public_ipv6, "--public-ipv6", Family.IPV6),
            )
            if text
        ]
        return cls(
            tuple(_interface(text) for text in interfaces if text),
            tuple(_pattern(text) for text in patterns if text),
            _address(can_reach, "--iface-can-reach") if can_reach else None,
            tuple(public),
        )

    def public_of(self, networks: Sequence[IPNetwork]) -> tuple[IPAddress, ...]:
        """Those public addresses that a cluster of these networks has a use for."""
        return tuple(ip for ip in self.public if any(ip.version == network.version for network in networks))


DEFAULT_ROUTE = Wish()


def _address(text: str, flag: str, family: Family | None = None) -> IPAddress:
    try:
        return parse_address(text, family)
    except InputError as error:
        raise InputError(error.problem, where=flag, remedy=error.remedy) from error


def _interface(text: str) -> str | IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        return text


def _pattern(text: str) -> re.Pattern[str]:
    """A regular expression. What Python reads in another way than RE2, it refuses or, as of `[[:alpha:]]`, warns of."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            return re.compile(text)
    except (re.error, FutureWarning) as error:
        raise InputError(
            f"{text!r} is no regular expression: {error}",
            where="--iface-regex",
            remedy="write it as ^eth[0-9]+$ or ^10[.]99[.]",
        ) from error
