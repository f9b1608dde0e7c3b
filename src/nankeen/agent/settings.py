"""What a node's agent is told when it starts. The paths are those that a container runtime and flannel use."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from nankeen.agent.wish import DEFAULT_ROUTE, Wish
from nankeen.backend.traffic import TrafficOptions
from nankeen.cni.server import SOCKET
from nankeen.model.address import IPAddress, IPNetwork
from nankeen.registry.etcd_settings import EtcdSettings

SUBNET_FILE = Path("/run/flannel/subnet.env")
STATUS_FILE = Path("/run/nankeen/status.json")
LEASE_FILE = Path("/var/lib/nankeen/leases.json")
CNI_BIN_DIR = Path("/opt/cni/bin")
CNI_CONF_DIR = Path("/etc/cni/net.d")
CNI_DATA_DIR = Path("/var/lib/cni")
AUDIT_SECONDS = 30.0
ANY_ADDRESS = IPv4Address(0)
RENEW_MARGIN = 3600.0
"""Flannel's 60 minutes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One agent's settings."""

    node: str
    """The node's name, by which its lease is known."""
    registry: str | EtcdSettings
    """The registry, by its address (`sqlite:///var/lib/nankeen/registry.db`), or as flanneld's flags tell it."""
    underlay: Wish = DEFAULT_ROUTE
    """How the underlay's interface and addresses are chosen."""
    subnet_file: Path = SUBNET_FILE
    socket: Path = SOCKET
    status_file: Path = STATUS_FILE
    cni_bin_dir: Path = CNI_BIN_DIR
    cni_conf_dir: Path = CNI_CONF_DIR
    cni_data_dir: Path = CNI_DATA_DIR
    lease_file: Path = LEASE_FILE
    """The last known leases, for a start while the registry is away."""
    ip_masq: bool = False
    """Whether traffic that leaves the pod network is masqueraded."""
    ip_masq_fully_random: bool = True
    """Whether masquerade draws source ports at random."""
    no_masquerade: tuple[IPNetwork, ...] = ()
    """Networks that see pods' own addresses."""
    forward_rules: bool = True
    """Whether iptables' FORWARD chain, where it is in use, is told to let pods' packets through."""
    audit_seconds: float = AUDIT_SECONDS
    """How often the kernel is compared with what it should hold, news or no news."""
    renew_margin: float = RENEW_MARGIN
    """Seconds before its expiry that a lease is renewed."""
    blackhole: bool = False
    """Whether packets for pods of this node that are not there are dropped, not sent on by the default route."""
    cni: bool = True
    """Whether pods are attached here: by a bridge, and by way of CNI. Docker brings both itself."""
    cni_as: tuple[str, ...] = ()
    """Other plugins in whose place the CNI executable stands, too."""
    health_address: IPAddress = ANY_ADDRESS
    """Where probes and `/metrics` are answered."""
    health_port: int = 0
    """Its TCP port; 0 for none."""
    log_level: int = logging.INFO
    """From which level on the log tells."""

    @property
    def pod_addresses(self) -> Path:
        """Where pods' addresses are kept, as host-local keeps them: a directory for each network."""
        return self.cni_data_dir / "networks"

    @property
    def traffic(self) -> TrafficOptions:
        """What the packet filter is made with."""
        return TrafficOptions(
            ip_masq=self.ip_masq,
            fully_random=self.ip_masq_fully_random,
            unmasqueraded=self.no_masquerade,
            forward_rules=self.forward_rules,
        )
