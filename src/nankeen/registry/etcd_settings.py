"""How an etcd cluster is reached: what flanneld's --etcd-… flags say, or an address.

    etcd://10.0.0.1:2379,10.0.0.2:2379/coreos.com/network?cafile=/etc/etcd/ca.pem&username=flannel

An endpoint that begins with https:// is spoken to by TLS, one with http:// in the clear; one without either by TLS
where there is a file for it. Flannel turns TLS off, without a word, where it has no certificate of its own: here an
https:// endpoint then is checked by `cafile`, or by what the system trusts, and half a pair of key and certificate is
refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from nankeen.model.errors import InputError, RegistryError

PREFIX = "/coreos.com/network"
"""Flannel's: below it stand the network configuration and the leases."""
ENDPOINTS = ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
"""Flannel's."""
PASSWORD_VARIABLE = "ETCD_PASSWORD"  # noqa: S105  (its name, not a password)
"""The environment variable with the password, for an address that names only the user: addresses are seen by others."""
_ENDPOINT = r"(?:https?://)?[^/?,]*"
_ADDRESS = re.compile(rf"({_ENDPOINT}(?:,{_ENDPOINT})*)(/[^?]*)?(?:\?(.*))?", re.DOTALL)
_PORT = re.compile(r"[0-9]{1,5}")
_SCHEMES = ("http", "https")
_FILES = ("keyfile", "certfile", "cafile")


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Where an etcd cluster is, and how it knows us."""

    endpoints: tuple[str, ...] = ENDPOINTS
    """Its members, each as `host:port` with or without `http://` or `https://`. One that answers is enough."""
    prefix: str = PREFIX
    keyfile: Path | None = None
    """Our private key, PEM."""
    certfile: Path | None = None
    """Our certificate, PEM."""
    cafile: Path | None = None
    """Whom to trust, PEM; None for those that the system trusts."""
    username: str = ""
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Raises `InputError` for what could never work."""
        if not self.endpoints:
            raise InputError("no endpoint of etcd", remedy="name one, such as http://127.0.0.1:2379")
        for endpoint in self.endpoints:
            _check_endpoint(endpoint)
        if "\0" in self.prefix or not self.prefix.strip("/"):
            raise InputError(f"{self.prefix!r} is no prefix of keys in etcd", remedy=f"flannel's is {PREFIX}")
        if self.password and not self.username:
            raise InputError("a password for etcd without a user", remedy="name the user as well")
        if any(map(self.is_encrypted, self.endpoints)) and (self.keyfile is None) != (self.certfile is None):
            raise InputError(
                "of the key and certificate for etcd there is only one", remedy="give both, or none to use neither"
            )

    def is_encrypted(self, endpoint: str) -> bool:
        """Whether that endpoint is spoken to by TLS."""
        scheme, separator, _ = endpoint.partition("://")
        return scheme == "https" if separator else (self.cafile or self.certfile or self.keyfile) is not None

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """What `cafile`, `keyfile` and `certfile` hold. Raises `RegistryError` where one cannot be read."""
        return _read(self.cafile), _read(self.keyfile), _read(self.certfile)

    @property
    def root(self) -> str:
        """The prefix as keys begin with it: as it was given, but with no slash at its end."""
        return self.prefix.rstrip("/")


def parse(rest: str, environment: Mapping[str, str] = os.environ) -> EtcdSettings:
    """The settings in an address, by what follows `etcd://`. Raises `InputError`."""
    address = _ADDRESS.fullmatch(rest)
    if address is None:
        raise InputError(
            f"{rest!r} is no address of etcd", remedy="write it as etcd://10.0.0.1:2379/coreos.com/network"
        )
    hosts, prefix, query = address.groups()
    options = _options(query or "")
    files = {name: Path(options[name]) for name in _FILES if options.get(name)}
    username = options.get("username", "")
    return EtcdSettings(
        endpoints=tuple(host for host in hosts.split(",") if host),
        prefix=prefix or PREFIX,
        username=username,
        password=environment.get(PASSWORD_VARIABLE, "") if username else "",
        **files,
    )


def _options(query: str) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    if unknown := sorted(set(options) - {*_FILES, "username"}):
        remedy = f"known are {', '.join(_FILES)} and username; the password is read from ${PASSWORD_VARIABLE}"
        raise InputError(f"unknown option {unknown[0]!r} in the address of etcd", remedy=remedy)
    return options


def _check_endpoint(endpoint: str) -> None:
    scheme, separator, place = endpoint.rpartition("://")
    host, _, port = place.rstrip("/").rpartition(":")
    if (separator and scheme not in _SCHEMES) or not host or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise InputError(f"{endpoint!r} is no endpoint of etcd", remedy="write it as http://127.0.0.1:2379")


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise RegistryError(
            f"cannot be read: {error.strerror}", where=str(path), remedy="correct the path, or the file's mode"
        ) from error
