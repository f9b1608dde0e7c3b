"""XFRM_MSG_*POLICY: IPsec's policies (linux/xfrm.h), as far as they demand one tunnel of ESP between two networks.

All others are passed over, for they are never ours: those that sockets have for themselves, those of ports, protocols,
interfaces or marks, and those that only let pass or block.
"""

from __future__ import annotations

import socket
import struct

from nankeen.kernel.netlink.message import NLM_F_CREATE, NLM_F_EXCL, attribute, attributes, message
from nankeen.kernel.netlink.neighbour import ip_address
from nankeen.kernel.netlink.route import network
from nankeen.model.address import IPAddress, IPNetwork
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy

XFRM_MSG_NEWSA, XFRM_MSG_DELSA = 0x10, 0x11
XFRM_MSG_NEWPOLICY, XFRM_MSG_DELPOLICY, XFRM_MSG_GETPOLICY, XFRM_MSG_UPDPOLICY = 0x13, 0x14, 0x15, 0x19

_SELECTOR = struct.Struct("=16s16s4HHBBB3xiI")
"""struct xfrm_selector: destination, source, ports and masks, family, prefix lengths, protocol, interface, user."""
_LIFETIME = struct.Struct("=8Q32x")
"""struct xfrm_lifetime_cfg, and the xfrm_lifetime_cur that follows it everywhere: soft and hard limits of octets and
packets, then seconds since it was added and used."""
_POLICY = struct.Struct("=II4B4x")
"""The rest of struct xfrm_userpolicy_info: priority, index, direction, action, flags, share."""
_POLICY_ID = struct.Struct("=IB3x")
_TEMPLATE = struct.Struct("=16sIB3xH2x16sIBBBxIII")
"""struct xfrm_user_tmpl: destination, SPI, protocol, family, source, request ID, mode, share, optional, algorithms."""
_SA_ID = struct.Struct("=16s4sB3x16s")
_SA = struct.Struct("=12xIIHBBB7x")
_DELSA = struct.Struct("=16s4sHBx")
_ALGORITHM = struct.Struct("=64sI")

_ALG_CRYPT, _TMPL, _POLICY_TYPE, _MARK, _IF_ID = 2, 5, 16, 21, 31
_ALLOW = 0
_MODE_TUNNEL = 1
_ANY_ALGORITHM = 0xFFFF_FFFF
_NO_LIMIT = 0xFFFF_FFFF_FFFF_FFFF
_LIMITS = _LIFETIME.pack(*[_NO_LIMIT] * 4, *[0] * 4)


def add(policy: XfrmPolicy) -> bytes:
    """Adds the policy or replaces the one for the same packets."""
    body = _selector(policy.source, policy.destination) + _LIMITS
    body += _POLICY.pack(policy.priority, 0, policy.direction.value, _ALLOW, 0, 0)
    return message(XFRM_MSG_UPDPOLICY, 0, body + attribute(_TMPL, _template(policy.tunnel)))


def remove(policy: XfrmPolicy) -> bytes:
    body = _selector(policy.source, policy.destination) + _POLICY_ID.pack(0, policy.direction.value)
    return message(XFRM_MSG_DELPOLICY, 0, body)


def dump() -> bytes:
    """Asks for all policies."""
    return message(XFRM_MSG_GETPOLICY, 0, b"")


def parse(body: bytes) -> XfrmPolicy | None:
    """The policy that a message tells of; None for one that only others make."""
    destination, source, *ports, family, length, source_length, protocol, interface, _ = _SELECTOR.unpack_from(body)
    offset = _SELECTOR.size + _LIFETIME.size
    priority, _, direction, action, _, _ = _POLICY.unpack_from(body, offset)
    found = attributes(body, offset + _POLICY.size)
    special = any(ports) or protocol or interface or found.keys() & {_MARK, _IF_ID}
    if special or action != _ALLOW or direction not in (0, 1, 2) or any(found.get(_POLICY_TYPE, b"")[:1]):
        return None
    tunnel = _parse_template(found.get(_TMPL, b""))
    if tunnel is None:
        return None
    octets = 4 if family == socket.AF_INET else 16
    return XfrmPolicy(
        Direction(direction),
        network(source[:octets], source_length),
        network(destination[:octets], length),
        tunnel,
        priority,
    )


def attempt(spi: bytes) -> tuple[bytes, bytes]:
    """Two messages: the first makes a security association of ESP that encrypts nothing, from the node to itself, which
    is refused with EPROTONOSUPPORT where the kernel has no ESP; the second removes it.
    """
    here = b"\x7f\0\0\1" + bytes(12)
    body = _SELECTOR.pack(bytes(16), bytes(16), 0, 0, 0, 0, socket.AF_INET, 0, 0, 0, 0, 0)
    body += _SA_ID.pack(here, spi, socket.IPPROTO_ESP, here) + _LIMITS
    body += _SA.pack(0, 0, socket.AF_INET, _MODE_TUNNEL, 0, 0)
    body += attribute(_ALG_CRYPT, _ALGORITHM.pack(b"ecb(cipher_null)", 0))
    return (
        message(XFRM_MSG_NEWSA, NLM_F_CREATE | NLM_F_EXCL, body),
        message(XFRM_MSG_DELSA, 0, _DELSA.pack(here, spi, socket.AF_INET, socket.IPPROTO_ESP)),
    )


def _selector(source: IPNetwork, destination: IPNetwork) -> bytes:
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    return _SELECTOR.pack(
        destination.network_address.packed, source.network_address.packed,
        0, 0, 0, 0, family, destination.prefixlen, source.prefixlen, 0, 0, 0,
    )  # fmt: skip


def _template(tunnel: EspTunnel) -> bytes:
    family = socket.AF_INET if tunnel.source.version == 4 else socket.AF_INET6
    return _TEMPLATE.pack(
        tunnel.destination.packed, 0, socket.IPPROTO_ESP, family, tunnel.source.packed,
        tunnel.reqid, _MODE_TUNNEL, 0, 0, _ANY_ALGORITHM, _ANY_ALGORITHM, _ANY_ALGORITHM,
    )  # fmt: skip


def _parse_template(data: bytes) -> EspTunnel | None:
    """The one tunnel of ESP that is required; None for anything else."""
    if len(data) != _TEMPLATE.size:
        return None
    destination, _, protocol, family, source, reqid, mode, _, optional, *_ = _TEMPLATE.unpack(data)
    if protocol != socket.IPPROTO_ESP or mode != _MODE_TUNNEL or optional:
        return None
    return EspTunnel(_address(source, family), _address(destination, family), reqid)


def _address(packed: bytes, family: int) -> IPAddress:
    return ip_address(packed[:4] if family == socket.AF_INET else packed)
