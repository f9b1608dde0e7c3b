"""What an ADD answers: interfaces, addresses, routes and DNS, as the asked version of the specification wants it.

Follows CNI 1.1.0, section 5 "Result Types", and the same section of the versions before. `nankeen.cni.previous` reads
what is written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
    """An address of the pod, on the interface of that index; None where the result names no interfaces."""

    address: IPInterface
    gateway: IPAddress | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class ResultRoute:
    """A route in the pod; without a gateway it leads by that of its family."""

    destination: IPNetwork
    gateway: IPAddress | None = None
    priority: int | None = None
    """The metric."""
    table: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """What the runtime may write into the pod's resolv.conf (resolv.conf(5))."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


NO_DNS = Dns()


@dataclass(frozen=True, slots=True)
class Result:
    """A pod's attachment as it stands."""

    interfaces: tuple[ResultInterface, ...]
    addresses: tuple[ResultAddress, ...]
    routes: tuple[ResultRoute, ...]
    dns: Dns = field(default=NO_DNS)

    def after(self, previous: Result) -> Result:
        """Both in one: what another plugin answered before, and this."""
        count = len(previous.interfaces)
        own = (
            item if item.interface is None else replace(item, interface=item.interface + count)
            for item in self.addresses
        )
        return Result(
            interfaces=previous.interfaces + self.interfaces,
            addresses=(*previous.addresses, *own),
            routes=previous.routes + self.routes,
            dns=previous.dns if self.dns == NO_DNS else self.dns,
        )

    def render(self, version: str) -> bytes:
        """The result object in that version; a field which that version does not have is left out."""
        body: Json = {"cniVersion": version}
        if at_least(version, "0.3.0"):
            body["interfaces"] = [render_interface(item, version) for item in self.interfaces]
            body["ips"] = [_address(item, version) for item in self.addresses]
            body["routes"] = [_route(item, version) for item in self.routes]
        else:
            body |= self._by_family(version)
        body["dns"] = _dns(self.dns)
        return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"

    def _by_family(self, asked: str) -> Json:
        """`ip4` and `ip6`, one address of each: all that version 0.2.0 could say."""
        body: Json = {}
        for item in self.addresses:
            version = item.address.version
            routes = [_route(route, asked) for route in self.routes if route.destination.version == version]
            gateway = {"gateway": str(item.gateway)} if item.gateway else {}
            body.setdefault(f"ip{version}", {"ip": str(item.address), **gateway, "routes": routes})
        return body


def render_interface(item: ResultInterface, version: str) -> Json:
    """An element of `interfaces`, as that version has it."""
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
    if item.interface is not None:
        body["interface"] = item.interface
    body["address"] = str(item.address)
    return body | {"gateway": str(item.gateway)} if item.gateway else body


def _route(item: ResultRoute, version: str) -> Json:
    body: Json = {"dst": str(item.destination)}
    if item.gateway is not None:
        body["gw"] = str(item.gateway)
    if at_least(version, "1.1.0"):
        numbers = {"priority": item.priority, "table": item.table}
        body |= {key: value for key, value in numbers.items() if value is not None}
    return body


def _dns(dns: Dns) -> Json:
    body: Json = {"nameservers": dns.nameservers, "domain": dns.domain, "search": dns.search, "options": dns.options}
    return {key: value for key, value in body.items() if value}
