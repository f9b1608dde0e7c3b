"""subnet.env: what the node's pods are given, as a file of variables.

The CNI plugin reads it, Docker's integration, and the next start of the agent. It looks like this:

    FLANNEL_NETWORK=10.5.0.0/16
    FLANNEL_SUBNET=10.5.34.1/24
    FLANNEL_IPV6_NETWORK=fc00:5::/48
    FLANNEL_IPV6_SUBNET=fc00:5:0:60::1/64
    FLANNEL_MTU=1450
    FLANNEL_IPMASQ=true
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nankeen.model.address import Family, IPNetwork, parse_network
from nankeen.model.errors import InputError
from nankeen.model.netconf import NetworkConfig

_PREFIX = {Family.IPV4: "FLANNEL", Family.IPV6: "FLANNEL_IPV6"}


@dataclass(frozen=True, slots=True)
class SubnetEnv:
    """What an earlier start left in the file. Each field is empty where the file does not say it plainly."""

    networks: tuple[IPNetwork, ...] = ()
    """The pod networks, IPv4 first."""
    subnets: tuple[IPNetwork, ...] = ()
    """The node's subnets, IPv4 first: what to ask for again."""
    mtu: int | None = None
    """Of the pods' interfaces, in bytes."""
    ip_masq: bool | None = None


def render(config: NetworkConfig, subnets: Sequence[IPNetwork], mtu: int, *, ip_masq: bool) -> str:
    """The file's text. A subnet is written with its gateway address, the first after the base."""
    lines = []
    for pool in config.pools:
        prefix = _PREFIX[pool.family]
        lines.append(f"{prefix}_NETWORK={pool.network}")
        lines += [
            f"{prefix}_SUBNET={subnet.network_address + 1}/{subnet.prefixlen}"
            for subnet in subnets
            if subnet.version == pool.network.version
        ]
    lines += [f"FLANNEL_MTU={mtu}", f"FLANNEL_IPMASQ={'true' if ip_masq else 'false'}"]
    return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> SubnetEnv:
    """From a file that somebody may have edited: what is not understood is left out.

    Nothing is raised, for the file only says what to ask for again.
    """
    variables = _variables(text)
    mtu = variables.get("FLANNEL_MTU", "")
    return SubnetEnv(
        networks=_networks(variables, "NETWORK"),
        subnets=_networks(variables, "SUBNET"),
        mtu=int(mtu) if mtu.isascii() and mtu.isdigit() and len(mtu) < 10 else None,
        ip_masq={"true": True, "false": False}.get(variables.get("FLANNEL_IPMASQ", "").lower()),
    )


def _variables(text: str) -> Mapping[str, str]:
    """The assignments of a dotenv file: `export`, quotes and comments are allowed."""
    variables = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            variables[name.strip()] = value.partition(" #")[0].strip().strip("\"'")
    return variables


def _networks(variables: Mapping[str, str], what: str) -> tuple[IPNetwork, ...]:
    found = (_only(variables.get(f"{prefix}_{what}", ""), family) for family, prefix in _PREFIX.items())
    return tuple(network for network in found if network is not None)


def _only(listed: str, family: Family) -> IPNetwork | None:
    """The one network of a list separated by commas. Flannel skips what is none, and takes two for none at all."""
    networks = []
    for entry in listed.split(","):
        try:
            networks.append(parse_network(entry.strip(), family))
        except InputError:
            continue
    return networks[0] if len(networks) == 1 else None
