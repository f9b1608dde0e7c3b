"""Which host ports pods have, one file for each attachment, so that an agent that starts again knows them.

They are in a directory below /run: nothing of a pod survives a boot, and so neither do they.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nankeen.cni.config import is_identifier
from nankeen.cni.portmappings import parse_port_mappings
from nankeen.cni.reading import parse_cidr, strings
from nankeen.cni.request import Attachment
from nankeen.model.address import IPInterface, family_of
from nankeen.model.errors import InputError
from nankeen.model.gojson import JSON, Fields, compact, parse_object
from nankeen.model.hostport import HostPort, PortMapping

_DRAFT = ".draft"
_LONGEST = 1 << 20
"""Of one file, in bytes."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PodPorts:
    """The host ports of one attachment, and where they lead."""

    network: str
    attachment: Attachment
    addresses: tuple[IPInterface, ...]
    """The pod's; a port leads to the first of each family."""
    mappings: tuple[PortMapping, ...]
    bridge: str = ""
    """The node's device by which it reaches the pod; "" where the ports need not be reached by 127.0.0.1."""
    host_name: str = ""
    """The node's end of the pod's interface: when it is gone, so is the pod. "" where it has none, or none is known."""

    @property
    def key(self) -> str:
        """What names the attachment among all there are."""
        return key_of(self.network, self.attachment)

    @property
    def host_ports(self) -> frozenset[HostPort]:
        """What they come to in the packet filter."""
        firsts = {family_of(item): item.ip for item in reversed(self.addresses)}
        return frozenset(
            HostPort(item.protocol, item.host_port, address, item.container_port, item.alone)
            for item in self.mappings
            for family, address in firsts.items()
            if item.is_in(family)
        )


def key_of(network: str, attachment: Attachment) -> str:
    """The name of an attachment's file."""
    text = f"{network}\n{attachment.container}\n{attachment.interface}"
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


class PortStore:
    """The files in one directory, which is made when it is first needed. Methods raise `OSError`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> Iterator[PodPorts]:
        """All of them. A file that is none of ours, or is damaged, is told in the log and passed over."""
        if not self._directory.is_dir():
            return
        for path in sorted(self._directory.glob("*.json")):
            try:
                with path.open("rb") as file:
                    yield _parse(parse_object(file.read(_LONGEST), str(path)), path.name)
            except InputError as error:
                _log.error("host ports are not known any more: %s", error)

    def write(self, ports: PodPorts) -> None:
        """The file appears whole or not at all. It is not synchronised to the disk."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._directory / _DRAFT
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(compact(_document(ports)))
        draft.replace(self._directory / ports.key)

    def remove(self, ports: PodPorts) -> None:
        """One that is not there is no error."""
        (self._directory / ports.key).unlink(missing_ok=True)


def _document(ports: PodPorts) -> JSON:
    """The mappings are written as a runtime writes them."""
    return {
        "network": ports.network,
        "container": ports.attachment.container,
        "interface": ports.attachment.interface,
        "addresses": [str(item) for item in ports.addresses],
        "portMappings": [
            {
                "hostPort": item.host_port,
                "containerPort": item.container_port,
                "protocol": str(item.protocol),
                "hostIP": str(item.host_address or ""),
            }
            for item in ports.mappings
        ],
        "bridge": ports.bridge,
        "hostName": ports.host_name,
    }


def _parse(fields: Fields, name: str) -> PodPorts:
    """What the file of that name holds. Raises `InputError`."""
    addresses = [parse_cidr(text) for text in strings(fields, "addresses")]
    container = fields.string("container")
    if not addresses or None in addresses or not is_identifier(container):
        raise fields.refusal("addresses", "a container and its addresses are wanted")
    found = PodPorts(
        network=fields.string("network"),
        attachment=Attachment(container, fields.string("interface")),
        addresses=tuple(item for item in addresses if item is not None),
        mappings=parse_port_mappings(fields),
        bridge=fields.string("bridge"),
        host_name=fields.string("hostName"),
    )
    if "/" in found.bridge:  # a path is made of it
        raise fields.refusal("bridge", "it must be a device")
    if found.key != name:
        raise fields.refusal("container", "the file has the name of another attachment's")
    return found
