"""A lease as text: the key and the value under which flannel keeps it in etcd, byte for byte.

    10.5.34.0-24                       one family
    10.5.44.0-24&fc00:5:0:60::-64      both
    fc00:5:0:60::-64                   IPv6 alone: ours, as flannel has no form for it; flannel passes over such keys

    {"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"3e:6d:0f:c1:4e:b2"}}

Neither holds the node's name or the expiry: the registry knows them. A node that receives on several backends tells of
the others in a member of our own, which flannel passes over:

    "Offers":[{"BackendType":"host-gw"}]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from socket import AF_INET, inet_pton

from nankeen.model.address import Family, IPAddress, IPNetwork, parse_address, parse_network
from nankeen.model.errors import InputError
from nankeen.model.gojson import Fields, compact, escape, parse_object
from nankeen.model.lease import Endpoint, Lease, Offer, Reach

LONGEST = 64 * 1024
"""Characters of a value at most; a real one has fewer than 300."""

LONGEST_NAME = 253
"""Characters of a node's name at most: those of a name in the DNS (RFC 1123 §2.1), as Kubernetes has it."""

MOST_OFFERS = 8
"""Other backends of one node at most; there are fewer kinds."""

_IPV4 = r"[0-9.]{7,15}-[0-9]{1,2}"
_IPV6 = r"[0-9a-f:]{2,39}-[0-9]{1,3}"
_KEY = re.compile(f"({_IPV4})(?:&({_IPV6}))?|({_IPV6})")
_PLAIN = re.compile(
    r'\{"PublicIP":"([0-9.]{7,15})","PublicIPv6":null(?:,"BackendType":"([a-z-]{1,30})")?'
    r'(?:,"BackendData":(\{"VNI":(?:0|[1-9][0-9]{0,7}),"VtepMAC":"[0-9a-f:]{17}"\}))?\}'
)
"""A value of one IPv4 subnet as it is written, to the letter: nearly every one that there is."""
_HOSTS = {str(length): (1 << 32 - length) - 1 for length in range(33)}
"""The bits of the hosts in an IPv4 subnet, by the length of its prefix as it is written."""
_ADDRESS = {Family.IPV4: "PublicIP", Family.IPV6: "PublicIPv6"}
_DATA = {Family.IPV4: "BackendData", Family.IPV6: "BackendV6Data"}
_UNSPECIFIED = "0.0.0.0"  # noqa: S104  (flannel's word for "no address", nothing is bound)


def encode(lease: Lease) -> str:
    """The value. What a lease has no word for stays out, except the two addresses."""
    ipv4, ipv6 = lease.endpoint(Family.IPV4), lease.endpoint(Family.IPV6)
    members = [
        f'"PublicIP":"{ipv4.reach.address if ipv4 else _UNSPECIFIED}"',
        f'"PublicIPv6":"{ipv6.reach.address}"' if ipv6 else '"PublicIPv6":null',
    ]
    if lease.backend:
        members.append(f'"BackendType":{compact(lease.backend)}')
    members += [
        f'"{_DATA[endpoint.family]}":{escape(endpoint.reach.data)}'
        for endpoint in lease.endpoints
        if endpoint.reach.data is not None
    ]
    if lease.offers:
        members.append(f'"Offers":[{",".join(_encode_offer(lease, offer) for offer in lease.offers)}]')
    return "{" + ",".join(members) + "}"


def _encode_offer(lease: Lease, offer: Offer) -> str:
    members = [f'"BackendType":{compact(offer.backend)}']
    members += [
        f'"{_DATA[endpoint.family]}":{escape(data)}'
        for endpoint, data in zip(lease.endpoints, offer.data, strict=True)
        if data is not None
    ]
    return "{" + ",".join(members) + "}"


def decode(text: str | bytes, subnets: Sequence[IPNetwork], node: str, expires: float | None) -> Lease:
    """The lease of `node` on `subnets` (those of its key) that the value tells of; raises `InputError`."""
    check_name(node)
    where = f"lease of {node}"
    if len(text) > LONGEST:
        raise InputError(f"a value of {len(text)} characters", where=where, remedy=f"at most {LONGEST} are read")
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if (lease := _decode_plain(text, subnets, node, expires)) is not None:
        return lease
    fields = parse_object(text, where)
    endpoints = tuple(
        Endpoint(subnet, Reach(_address(fields, family), _data(fields, family)))
        for family in Family
        for subnet in subnets
        if subnet.version == family.value
    )
    families = [endpoint.family for endpoint in endpoints]
    offers = tuple(_offer(item, families) for item in fields.objects("Offers", MOST_OFFERS))
    return Lease(node, fields.string("BackendType"), endpoints, expires, offers)


def check_name(node: str) -> None:
    """Raises `InputError` where that can be no node's name."""
    if not 0 < len(node) <= LONGEST_NAME or not node.isprintable():
        raise InputError(
            f"{node[:60]!r} is no name of a node", remedy=f"it has 1 to {LONGEST_NAME} characters that can be printed"
        )


def _decode_plain(text: str, subnets: Sequence[IPNetwork], node: str, expires: float | None) -> Lease | None:
    """The lease of a value that is written to the letter, in a quarter of the time; None for any other value."""
    plain = _PLAIN.fullmatch(text)
    if plain is None or len(subnets) != 1 or subnets[0].version != 4:
        return None
    address, backend, data = plain.groups()
    try:
        packed = inet_pton(AF_INET, address)
    except OSError:
        return None
    if not any(packed):
        return None
    return Lease(node, backend or "", (Endpoint(subnets[0], Reach(IPv4Address(packed), data)),), expires)


def _offer(fields: Fields, families: Sequence[Family]) -> Offer:
    return Offer(fields.string("BackendType"), tuple(_data(fields, family) for family in families))


def key(subnets: Sequence[IPNetwork]) -> str:
    """The key of a lease of these subnets, at most one of each family."""
    ordered = sorted(subnets, key=lambda subnet: subnet.version)
    return "&".join(f"{subnet.network_address}-{subnet.prefixlen}" for subnet in ordered)


def parse_key(text: str) -> tuple[IPNetwork, ...]:
    """The subnets that a key names, IPv4 first; raises `InputError`."""
    if (plain := _parse_plain_key(text)) is not None:
        return plain
    match = _KEY.fullmatch(text)
    if not match:
        raise _not_a_key(text)
    subnets = tuple(parse_network(part.replace("-", "/")) for part in match.groups() if part)
    if key(subnets) != text:  # bits of the host are set, or it is not how anybody writes that address
        raise _not_a_key(text)
    return subnets


def _parse_plain_key(text: str) -> tuple[IPNetwork] | None:
    """The subnet of a key that names one of IPv4, in a third of the time; None for any other key."""
    base, _, length = text.partition("-")
    try:
        number, hosts = int.from_bytes(inet_pton(AF_INET, base)), _HOSTS[length]
    except (OSError, KeyError, ValueError):
        return None
    return None if number & hosts else (IPv4Network((number, int(length))),)


def _not_a_key(text: str) -> InputError:
    return InputError(f"{text[:60]!r} is not the key of a lease", remedy="such as 10.5.34.0-24&fc00:5:0:60::-64")


def _address(fields: Fields, family: Family) -> IPAddress:
    name = _ADDRESS[family]
    try:
        address = parse_address(fields.string(name), family)
    except InputError as error:
        raise fields.refusal(name, f"it must be an {family} address") from error
    if address.is_unspecified:
        raise fields.refusal(name, f"it must be the {family} address that the node is reached at")
    return address


def _data(fields: Fields, family: Family) -> str | None:
    data = fields.raw(_DATA[family])
    return None if data is None else compact(data)
