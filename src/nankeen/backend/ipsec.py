"""IPsec (RFC 4301): pod packets in ESP, from node to node, as flannel makes them. IPv4 only.

The kernel's policies say that the packets between two nodes' subnets must be in a tunnel; strongSwan's charon agrees on
the keys (IKEv2, RFC 7296). With O the node's subnet, A its address, S a peer's subnet and X the peer's address:

    src O dst S dir out tmpl src A dst X proto esp reqid 11 mode tunnel
    src S dst O dir in, and dir fwd, likewise
    S via X dev eth0 proto 110 onlink

The policies are there before charon hears of the peer, and as long as the peer is: what it has no keys for is dropped.
The route only leads packets past the policy: none ever takes it to X as it is.

Different from flannel on purpose: no default route is needed, and the tunnel starts at the underlay's own address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nankeen.backend import Node
from nankeen.model.address import Family, HardwareAddress, IPNetwork, family_of
from nankeen.model.errors import ConfigError
from nankeen.model.gojson import Fields
from nankeen.model.ike import IkeConnection, IkeSecret
from nankeen.model.lease import Endpoint, Lease, Reach
from nankeen.model.netconf import WHERE
from nankeen.model.secret import Secret
from nankeen.model.state import PROTOCOL_NANKEEN, Object, Route, State
from nankeen.model.xfrm import Direction, EspTunnel, XfrmPolicy

NAME = "ipsec"
DEFAULT_PROPOSAL = "aes128gcm16-sha256-prfsha256-ecp256"
SHORTEST_PSK = 96
"""Characters of the pre-shared key at least."""

_OVERHEAD = 77
"""Bytes added to an inner packet at most, as flannel counts: outer IPv4, ESP, padding and check value (RFC 4303)."""
_OVERHEAD_UDP = 8
"""Bytes added for UDP (RFC 3948)."""
_PROPOSAL = re.compile(r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True)
class IpsecBackend:
    """The options, checked. See `nankeen.backend.Backend` for what the methods promise."""

    psk: Secret
    """The secret that every node of the cluster proves itself with."""
    encap: bool = False
    """Whether ESP is carried in UDP also where there is no NAT."""
    proposal: str = DEFAULT_PROPOSAL
    """Algorithms of ESP, in strongSwan's words."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def announces(self) -> str:
        return NAME

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()  # it makes no links; its companion asks for ESP

    def devices(self, node: Node) -> frozenset[str]:
        _refuse_ipv6(node)
        return frozenset()

    def receives(self, node: Node) -> Mapping[str, int]:  # noqa: ARG002  (nothing gets in unauthenticated)
        return {}

    def mtu(self, node: Node) -> int:
        return node.underlay.mtu - _OVERHEAD - (_OVERHEAD_UDP if self.encap else 0)

    def reaches(self, node: Node) -> tuple[Reach, ...]:
        _refuse_ipv6(node)
        return (Reach(node.public_address(Family.IPV4)),)

    def announced(self, lease: Lease) -> Mapping[str, HardwareAddress]:  # noqa: ARG002  (it has no devices)
        return {}

    def state(self, node: Node, peers: Iterable[Lease]) -> State:
        own = [IkeSecret(node.local_address(Family.IPV4), self.psk)] if node.subnets else []
        return State([*own, *(item for lease in peers for item in self.peer(node, lease))])

    def peer(self, node: Node, lease: Lease) -> tuple[Object, ...]:
        endpoint = lease.endpoint(Family.IPV4)
        own = next((subnet for subnet in node.subnets if family_of(subnet) is Family.IPV4), None)
        return self._protect(node, own, endpoint) if own is not None and endpoint is not None else ()

    def receiving(self, node: Node, lease: Lease) -> tuple[Object, ...]:  # noqa: ARG002  (its policies would lead packets to it)
        return ()

    def _protect(self, node: Node, own: IPNetwork, endpoint: Endpoint) -> tuple[Object, ...]:
        """What keeps the packets between the node's subnet and a peer's from going in the clear."""
        here, there, theirs = node.local_address(Family.IPV4), endpoint.reach.address, endpoint.subnet
        back = EspTunnel(there, here)
        return (
            XfrmPolicy(Direction.OUT, own, theirs, EspTunnel(here, there)),
            XfrmPolicy(Direction.IN, theirs, own, back),
            XfrmPolicy(Direction.FWD, theirs, own, back),
            Route(theirs, node.underlay.device, gateway=there, onlink=True, protocol=PROTOCOL_NANKEEN),
            IkeSecret(there, self.psk),
            IkeConnection(here, there, own, theirs, self.proposal, self.encap),
        )


def parse(options: Fields) -> IpsecBackend:
    """The backend with these options; raises `ConfigError`."""
    psk = options.raw("PSK")
    if not isinstance(psk, str) or len(psk) < SHORTEST_PSK:  # the value itself is for nobody's eyes
        raise ConfigError(
            "Backend.PSK is missing, or too short to be a secret",
            where=WHERE,
            remedy=f"it must be a string of at least {SHORTEST_PSK} characters",
        )
    proposal = options.string("ESPProposal") or DEFAULT_PROPOSAL
    if not _PROPOSAL.fullmatch(proposal):
        raise options.refusal("ESPProposal", f"it must be algorithms joined by hyphens, such as {DEFAULT_PROPOSAL}")
    return IpsecBackend(Secret(psk.encode()), options.boolean("UDPEncap", default=False), proposal)


def _refuse_ipv6(node: Node) -> None:
    for network in node.networks:
        if family_of(network) is not Family.IPV4:
            raise ConfigError(
                f"{NAME} carries IPv4 only, and the pod network {network} is {family_of(network)}",
                where=WHERE,
                remedy="set EnableIPv6 to false, or choose a backend for both, such as wireguard",
            )
