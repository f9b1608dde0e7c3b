"""`nankeen agent`: the node daemon."""

from __future__ import annotations

from pathlib import Path
from socket import gethostname
from typing import Any

import click

from nankeen.agent import settings as defaults
from nankeen.agent.wish import Wish
from nankeen.cni.server import SOCKET
from nankeen.model.address import IPNetwork, parse_network

_PATH = click.Path(path_type=Path)


def _networks(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[IPNetwork, ...]:
    return tuple(parse_network(value) for value in values)


@click.command(short_help="The daemon of one node.")
@click.option("--registry", required=True, help="Where the leases are: sqlite:///var/lib/nankeen/registry.db")
@click.option("--node-name", "node", default=gethostname, show_default="the host's name", help="The node's name.")
@click.option(
    "--iface",
    "interfaces",
    multiple=True,
    metavar="NAME|IP",
    help="The underlay interface, or one of its addresses; given more than once, the first that can be used"
    " [default: that of the default route]",
)
@click.option(
    "--iface-regex", "patterns", multiple=True, metavar="REGEX", help="Matches an address of it, or else its name."
)
@click.option("--iface-can-reach", "can_reach", default="", metavar="IP", help="The interface that leads to it.")
@click.option(
    "--public-ip", default="", metavar="IP", help="What peers reach the node by [default: the interface's address]"
)
@click.option("--public-ipv6", default="", metavar="IP", help="The same for IPv6.")
@click.option("--subnet-file", type=_PATH, default=defaults.SUBNET_FILE, show_default=True, help="The node's subnet.")
@click.option("--status-file", type=_PATH, default=defaults.STATUS_FILE, show_default=True, help="How the agent is.")
@click.option("--socket", "socket", type=_PATH, default=SOCKET, show_default=True, help="For the CNI executable.")
@click.option(
    "--cni-bin-dir", type=_PATH, default=defaults.CNI_BIN_DIR, show_default=True, help="For the CNI executable."
)
@click.option(
    "--cni-conf-dir", type=_PATH, default=defaults.CNI_CONF_DIR, show_default=True, help="For its configuration."
)
@click.option("--cni-data-dir", type=_PATH, default=defaults.CNI_DATA_DIR, show_default=True, help="Pods' addresses.")
@click.option("--lease-file", type=_PATH, default=defaults.LEASE_FILE, show_default=True, help="The last known leases.")
@click.option("--ip-masq/--no-ip-masq", default=False, help="Masquerade what leaves the pod network.")
@click.option(
    "--ip-masq-fully-random/--no-ip-masq-fully-random", default=True, help="Draw masqueraded source ports at random."
)
@click.option(
    "--no-masquerade",
    multiple=True,
    callback=_networks,
    metavar="CIDR",
    help="A network that sees pods' own addresses; may be repeated.",
)
@click.option(
    "--iptables-forward-rules/--no-iptables-forward-rules",
    "forward_rules",
    default=True,
    help="Let pods through iptables' FORWARD chain, where it is in use.",
)
def agent(
    interfaces: tuple[str, ...],
    patterns: tuple[str, ...],
    can_reach: str,
    public_ip: str,
    public_ipv6: str,
    **options: Any,  # noqa: ANN401  (each is a field of Settings, by its name)
) -> int:
    """Take a lease, tell the other nodes, and keep this node's kernel equal to what all leases ask for.

    Runs until SIGTERM, which leaves the kernel as it is: pods keep their network while the agent is away.
    """
    from nankeen.agent.daemon import run

    wish = Wish.parse(interfaces, patterns, can_reach, public_ip, public_ipv6)
    return run(defaults.Settings(underlay=wish, **options))
