"""Flanneld's flags: what each means to the agent. All may come from the environment: $FLANNELD_ETCD_PREFIX."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from nankeen import __version__
from nankeen.agent import settings as defaults
from nankeen.agent.wish import Wish
from nankeen.cli.goflags import Boolean, Flag, Number
from nankeen.model.errors import InputError
from nankeen.registry import etcd_settings
from nankeen.registry.etcd_settings import EtcdSettings

LONGEST_MARGIN = 1439
"""Minutes: a lease lives for 24 hours, and some of them it must have."""
DEBUG_VERBOSITY = 2
"""From which `-v` on the log tells more."""
MARGIN = int(defaults.RENEW_MARGIN // 60)

_PATH = click.Path(path_type=Path)
_REGISTRY = "Leases in etcd"
_KUBERNETES = "Leases in Kubernetes (not built yet)"
_UNDERLAY = "Underlay"
_TRAFFIC = "Traffic"
_AGENT = "The agent"


def flannel_flags() -> list[Flag]:
    """All of them, for one command."""
    return [*_registry(), *_kubernetes(), *_underlay(), *_traffic(), *_agent()]


def _flag(name: str, section: str, help: str, **attributes: Any) -> Flag:  # noqa: A002, ANN401  (click's word)
    variable = "FLANNELD_" + name.upper().replace("-", "_")
    return Flag(name, variables=[variable], section=section, help=help, **attributes)


def _switch(name: str, section: str, help: str, *, default: bool = False, **attributes: Any) -> Flag:  # noqa: A002, ANN401
    return _flag(name, section, help, type=Boolean(), default=default, **attributes)


def _number(name: str, section: str, help: str, default: int | None) -> Flag:  # noqa: A002
    return _flag(name, section, help, type=Number(), default=default, show_default=default is not None)


def _registry() -> list[Flag]:
    endpoints = ",".join(etcd_settings.ENDPOINTS)
    return [
        _flag("etcd-endpoints", _REGISTRY, "Members of the cluster, separated by commas.", default=endpoints),
        _flag("etcd-prefix", _REGISTRY, "What its keys begin with.", default=etcd_settings.PREFIX),
        _flag("etcd-keyfile", _REGISTRY, "The node's private key, PEM.", default="", metavar="FILE"),
        _flag("etcd-certfile", _REGISTRY, "The node's certificate, PEM.", default="", metavar="FILE"),
        _flag("etcd-cafile", _REGISTRY, "Who signs the members' certificates, PEM.", default="", metavar="FILE"),
        _flag("etcd-username", _REGISTRY, "A user of etcd.", default=""),
        _flag("etcd-password", _REGISTRY, "His password; others see it less in the environment.", default=""),
        _number(
            "subnet-lease-renew-margin",
            _REGISTRY,
            f"Minutes before its expiry that the lease is renewed, 1 to {LONGEST_MARGIN}.",
            MARGIN,
        ),
    ]


def _kubernetes() -> list[Flag]:
    prefix, config = "flannel.alpha.coreos.com", "/etc/kube-flannel/net-conf.json"
    return [
        _switch("kube-subnet-mgr", _KUBERNETES, "Leases are podCIDRs, and told in annotations of nodes."),
        _flag("kube-api-url", _KUBERNETES, "The API server.", default="", metavar="URL"),
        _flag("kubeconfig-file", _KUBERNETES, "How to get there.", default="", metavar="FILE"),
        _flag("kube-annotation-prefix", _KUBERNETES, "What annotations begin with.", default=prefix),
        _flag("net-config-path", _KUBERNETES, "The network configuration.", default=config, metavar="FILE"),
        _switch("set-node-network-unavailable", _KUBERNETES, "Tell that the network is there.", default=True),
    ]


def _underlay() -> list[Flag]:
    return [
        _flag(
            "iface",
            _UNDERLAY,
            "The interface, or one of its addresses; given more than once, the first that can be used"
            " [default: that of the default route]",
            multiple=True,
            metavar="NAME|IP",
        ),
        _flag(
            "iface-regex",
            _UNDERLAY,
            "Matches an address of it, or else its name; may be repeated.",
            multiple=True,
            metavar="REGEX",
        ),
        _flag("iface-can-reach", _UNDERLAY, "The interface that leads to it.", default="", metavar="IP"),
        _flag(
            "public-ip",
            _UNDERLAY,
            "What peers reach the node by [default: the interface's address]",
            default="",
            metavar="IP",
        ),
        _flag("public-ipv6", _UNDERLAY, "The same for IPv6.", default="", metavar="IP"),
    ]


def _traffic() -> list[Flag]:
    return [
        _switch("ip-masq", _TRAFFIC, "Masquerade what leaves the pod network."),
        _switch("ip-masq-fully-random-disable", _TRAFFIC, "Do not draw masqueraded source ports at random."),
        _switch(
            "iptables-forward-rules",
            _TRAFFIC,
            "Let pods through iptables' FORWARD chain, where it is in use.",
            default=True,
        ),
        _number(
            "iptables-resync",
            _TRAFFIC,
            "Seconds between two looks at the whole kernel; most of what changes there is seen at once, without any"
            f" [default: {defaults.AUDIT_SECONDS:.0f}]",
            None,
        ),
        _switch("ip-blackhole-route", _TRAFFIC, "Drop packets for pods of the node that are not there."),
    ]


def _agent() -> list[Flag]:
    return [
        _flag("subnet-file", _AGENT, "Where other programs find the subnet.", type=_PATH, default=defaults.SUBNET_FILE),
        _flag("healthz-ip", _AGENT, "Where probes are answered.", default=str(defaults.ANY_ADDRESS), metavar="IP"),
        _number("healthz-port", _AGENT, "Port of /healthz, /readyz and /metrics; 0: none.", 0),
        _number("v", _AGENT, f"Verbosity of the log; {DEBUG_VERBOSITY} and more for what helps in debugging.", 0),
        _flag("vmodule", _AGENT, "Taken, and of no effect: Go's log has it.", default=""),
        _flag("log_backtrace_at", _AGENT, "Taken, and of no effect: Go's log has it.", default=""),
        _switch(
            "version",
            _AGENT,
            "Print the version on standard error.",
            is_eager=True,
            expose_value=False,
            callback=_print_version,
        ),
    ]


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  (click's)
    if wanted:
        click.echo(__version__, err=True)
        context.exit(0)


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Settings` that flannel's flags give. Raises `InputError` naming a flag."""
    _check_environment()
    resync, margin = values["iptables_resync"], values["subnet_lease_renew_margin"]
    return {
        "underlay": Wish.parse(
            *(values[name] for name in ("iface", "iface_regex", "iface_can_reach", "public_ip", "public_ipv6"))
        ),
        "subnet_file": values["subnet_file"],
        "ip_masq": values["ip_masq"],
        "ip_masq_fully_random": not values["ip_masq_fully_random_disable"],
        "forward_rules": values["iptables_forward_rules"],
        "blackhole": values["ip_blackhole_route"],
        "audit_seconds": defaults.AUDIT_SECONDS if resync is None else _within("iptables-resync", resync, 1),
        "renew_margin": 60.0 * _within("subnet-lease-renew-margin", margin, 1, LONGEST_MARGIN),
        "health_address": _address(values["healthz_ip"]),
        "health_port": _within("healthz-port", values["healthz_port"], 0, 65535),
        "log_level": logging.DEBUG if values["v"] >= DEBUG_VERBOSITY else logging.INFO,
    }  # fmt: skip


def etcd_of(values: Mapping[str, Any]) -> EtcdSettings:
    """The registry that flannel's flags name. Raises `InputError`."""
    if values["kube_subnet_mgr"]:
        raise InputError(
            "leases in Kubernetes are not built yet",
            where="--kube-subnet-mgr",
            remedy="leave it away, and keep them in etcd: --etcd-endpoints",
        )
    files = {name: Path(values[f"etcd_{name}"]) for name in ("keyfile", "certfile", "cafile") if values[f"etcd_{name}"]}
    found = EtcdSettings()
    for flag, fields in (
        ("--etcd-endpoints", {"endpoints": tuple(filter(None, map(str.strip, values["etcd_endpoints"].split(","))))}),
        ("--etcd-prefix", {"prefix": values["etcd_prefix"]}),
        ("--etcd-password", {"username": values["etcd_username"], "password": values["etcd_password"]}),
        ("--etcd-certfile", files),
    ):
        try:
            found = replace(found, **fields)
        except InputError as error:
            raise InputError(error.problem, where=flag, remedy=error.remedy) from error
    return found


def _within(flag: str, number: int, least: int, most: int | None = None) -> int:
    if number < least or (most is not None and number > most):
        allowed = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise InputError(f"{number} is not allowed", where=f"--{flag}", remedy=f"give a number {allowed}")
    return number


def _address(text: str) -> Any:  # noqa: ANN401
    try:
        return ip_address(text)
    except ValueError as error:
        remedy = f"write it as {defaults.ANY_ADDRESS}, 127.0.0.1 or ::1"
        raise InputError(f"{text!r} is not an IP address", where="--healthz-ip", remedy=remedy) from error


def _check_environment() -> None:
    """Flannel's other variables that can be wrong. The agent takes whole snapshots, and has no queue of events."""
    depth = os.environ.get("EVENT_QUEUE_DEPTH", "")
    if depth and not (depth.isascii() and depth.isdigit() and int(depth[:10])):
        raise InputError(f"{depth!r} is not a whole number", where="$EVENT_QUEUE_DEPTH", remedy="give one above 0")
