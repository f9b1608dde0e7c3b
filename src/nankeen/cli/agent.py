"""`nankeen agent`: the node daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

import click
from click.core import ParameterSource

from nankeen.agent import settings as defaults
from nankeen.agent.settings import Settings
from nankeen.cli.flannelflags import etcd_of, flannel_flags, settings_of
from nankeen.cli.goflags import Boolean, Flag, GoCommand
from nankeen.cni.install import STAND_INS
from nankeen.cni.server import SOCKET
from nankeen.model.address import IPNetwork, parse_network
from nankeen.model.errors import InputError
from nankeen.registry.etcd_settings import EtcdSettings

_PATH = click.Path(path_type=Path)
_OURS = "Nankeen's own"
_OTHER_REGISTRIES = ("etcd_", "kube_subnet_mgr")
"""What flags begin with that name a registry, too."""


def own_flags() -> list[Flag]:
    """Those that flannel does not have; all may come from the environment: $NANKEEN_REGISTRY."""
    return [
        _flag(
            "registry", "Where the leases are: sqlite:///var/lib/nankeen/registry.db or etcd://HOST:2379.", default=""
        ),
        _flag("node-name", "The node's name, also $NODE_NAME [default: the host's]", "NODE_NAME", default=""),
        _flag(
            "no-masquerade", "A network that sees pods' own addresses; may be repeated.", multiple=True, metavar="CIDR"
        ),
        _flag("cni", "Make the pods' bridge, and answer the container runtime.", type=Boolean(), default=True),
        _path("socket", "For the CNI executable.", SOCKET),
        _flag(
            "cni-as",
            f"Install that in the place of these plugins, too: {', '.join(STAND_INS)}.",
            default="",
            metavar="NAME,…",
        ),
        _path("cni-bin-dir", "Where that is installed.", defaults.CNI_BIN_DIR),
        _path("cni-conf-dir", "For its configuration.", defaults.CNI_CONF_DIR),
        _path("cni-data-dir", "Pods' addresses.", defaults.CNI_DATA_DIR),
        _path("status-file", "How the agent is.", defaults.STATUS_FILE),
        _path("lease-file", "The last known leases.", defaults.LEASE_FILE),
    ]


def _flag(name: str, help: str, *variables: str, **attributes: Any) -> Flag:  # noqa: A002, ANN401  (click's word)
    own = "NANKEEN_" + name.upper().replace("-", "_")
    return Flag(name, variables=[own, *variables], section=_OURS, help=help, **attributes)


def _path(name: str, help: str, default: Path) -> Flag:  # noqa: A002
    return _flag(name, help, type=_PATH, default=default)


def start(context: click.Context, values: Mapping[str, Any], default: EtcdSettings | None = None) -> int:
    """Runs an agent with a command's flags; `default` is the registry where they name none. Raises `InputError`."""
    command = context.command
    try:
        settings = Settings(
            node=values["node_name"] or gethostname(),
            registry=_registry(context, values, default),
            cni_as=_stand_ins(values["cni_as"]),
            no_masquerade=tuple(_network(text) for text in values["no_masquerade"]),
            **{name: values[name] for name in _SAME},
            **settings_of(values),
        )
    except InputError as error:
        raise (command.blame(context, error) if isinstance(command, GoCommand) else error) from error
    from nankeen.agent.daemon import run

    return run(settings)


_SAME = ("cni", "socket", "cni_bin_dir", "cni_conf_dir", "cni_data_dir", "status_file", "lease_file")


def _registry(context: click.Context, values: Mapping[str, Any], default: EtcdSettings | None) -> str | EtcdSettings:
    others = [name for name in values if name.startswith(_OTHER_REGISTRIES) and _is_given(context, name)]
    if values["registry"] and others:
        flag = others[0].replace("_", "-")
        raise InputError(f"it names one registry, and --{flag} another", where="--registry", remedy="leave one away")
    if values["registry"]:
        return str(values["registry"])
    if not others and default is None:
        remedy = "say --registry sqlite:///var/lib/nankeen/registry.db, or --etcd-endpoints as flanneld takes them"
        raise InputError("no registry is named", remedy=remedy)
    return etcd_of(values)


def _network(text: str) -> IPNetwork:
    try:
        return parse_network(text)
    except InputError as error:
        raise InputError(error.problem, where="--no-masquerade", remedy=error.remedy) from error


def _stand_ins(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, (name.strip() for name in text.split(",")))))
    for name in names:
        if name not in STAND_INS:
            raise InputError(f"{name!r:.60} is none", where="--cni-as", remedy=f"name some of {', '.join(STAND_INS)}")
    return names


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def _run(**values: Any) -> int:  # noqa: ANN401  (each is a flag's, by its name)
    return start(click.get_current_context(), values)


agent = GoCommand(
    "agent",
    params=[*own_flags(), *flannel_flags()],
    callback=_run,
    short_help="The daemon of one node.",
    help="""Take a lease, tell the other nodes, and keep this node's kernel equal to what all leases ask for.

    Runs until SIGTERM, which leaves the kernel as it is: pods keep their network while the agent is away.

    Flags are flanneld's and some more. Each may come from the environment: $FLANNELD_ and its name, as in
    $FLANNELD_ETCD_ENDPOINTS, $NANKEEN_ for nankeen's own.""",
)
