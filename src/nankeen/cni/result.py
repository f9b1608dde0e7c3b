"""What an ADD answers: interfaces, addresses and routes, written as the asked version of the specification wants it.

Follows CNI 1.1.0, section 5 "Result Types", and the same section of the versions before.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from nankeen.cni.version import at_least
from nankeen.model.address import HardwareAddress, IPAddress, IPInterface, IPNetwork

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class ResultInterface:
    """A device that the attachment uses; `sandbox` is the namespace's path for one inside the pod, "" on the node."""

    name: str
    address: HardwareAddress | None = None
    mtu: int | None = None
    """In bytes."""
    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class ResultAddress:
    """An address of the pod, on the interface of that index."""

    address: IPInterface
    gateway: IPAddress
    interface: int


@dataclass(frozen=True, slots=True)
class ResultRoute:
    """A route in the pod."""

    destination: IPNetwork
    gateway: IPAddress


@dataclass(frozen=True, slots=True)
class Result:
    """A pod's attachment as it stands."""

    interfaces: tuple[ResultInterface, ...]
    addresses: tuple[ResultAddress, ...]
    routes: tuple[ResultRoute, ...]

    def render(self, version: str) -> bytes:
        """The result object in that version; a field which that version does not have is left out."""
        body: Json = {"cniVersion": version}
        if at_least(version, "0.3.0"):
            body["interfaces"] = [_interface(item, version) for item in self.interfaces]
            body["ips"] = [_address(item, version) for item in self.addresses]
            body["routes"] = [_route(item) for item in self.routes]
        else:
            body |= self._by_family()
        body["dns"] = {}
        return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"

    def _by_family(self) -> Json:
        """`ip4` and `ip6`, one address of each: all that version 0.2.0 could say."""
        body: Json = {}
        for item in self.addresses:
            version = item.address.version
            routes = [_route(route) for route in self.routes if route.destination.version == version]
            body.setdefault(f"ip{version}", {"ip": str(item.address), "gateway": str(item.gateway), "routes": routes})
        return body


def _interface(item: ResultInterface, version: str) -> Json:
    body: Json = {"name": item.name}
    if item.address is not None:
        body["mac"] = str(item.address)
    if item.mtu is not None and at_least(version, "1.1.0"):
        body["mtu"] = item.mtu
    if item.sandbox:
        body["sandbox"] = item.sandbox
    return body


def _address(item: ResultAddress, version: str) -> Json:
    body: Json = {} if at_least(version, "1.0.0") else {"version": str(item.address.version)}
    return body | {"interface": item.interface, "address": str(item.address), "gateway": str(item.gateway)}


def _route(item: ResultRoute) -> Json:
    return {"dst": str(item.destination), "gw": str(item.gateway)}
