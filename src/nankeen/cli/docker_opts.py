"""`nankeen docker-opts`: what Docker's daemon is told, from the node's subnet."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nankeen.agent.settings import SUBNET_FILE
from nankeen.agent.status import write_atomically
from nankeen.model import docker, subnetenv
from nankeen.model.docker import COMBINED, Layout
from nankeen.model.errors import InputError, KernelError

OPTIONS_FILE = Path("/run/docker_opts.env")
_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command("docker-opts", short_help="What Docker's daemon is told, from the node's subnet.")
@click.option("-f", "--subnet-file", type=_PATH, default=SUBNET_FILE, show_default=True, help="What the agent wrote.")
@click.option(
    "-d",
    "--file",
    "file",
    default=str(OPTIONS_FILE),
    show_default=True,
    help="Where to write it; - for standard output.",
)
@click.option("-i", "--individual", is_flag=True, help="A variable for each option, such as DOCKER_OPT_MTU.")
@click.option("-c", "--combined", is_flag=True, help="One variable with all options [default: both].")
@click.option("-k", "--key", default=COMBINED, show_default=True, help="The name of that one.")
@click.option("-m", "--no-ip-masq", is_flag=True, help="Leave out --ip-masq, for old versions of Docker.")
@click.option(
    "--daemon-json", type=_PATH, metavar="FILE", help="Set bip, mtu and ip-masq in this file of Docker's instead."
)
def docker_opts(
    subnet_file: Path,
    file: str,
    individual: bool,  # noqa: FBT001
    combined: bool,  # noqa: FBT001
    key: str,
    no_ip_masq: bool,  # noqa: FBT001
    daemon_json: Path | None,
) -> None:
    """Make Docker's own bridge the node's part of the pod network.

    Writes Docker's options --bip, --mtu and --ip-masq as a file of variables for its systemd unit, as flannel's
    mk-docker-opts.sh does, or sets them in daemon.json. What else $DOCKER_OPTS holds comes first in the combined one.
    The agent has to run with --cni=false, so that no second bridge has the subnet.
    """
    try:
        options = docker.options(subnetenv.parse(_read(subnet_file)), ip_masq=not no_ip_masq)
    except InputError as error:
        raise InputError(error.problem, where=str(subnet_file), remedy=error.remedy) from error
    if daemon_json is not None:
        _merge(daemon_json, options)
        return
    both = individual == combined
    layout = Layout(individual or both, key if combined or both else "")
    text = docker.variables(options, layout, os.environ.get(key, ""))
    if file == "-":
        click.echo(text, nl=False)
    else:
        _write(Path(file), text)


def _merge(path: Path, options: docker.Options) -> None:
    text, mode = _there(path)
    try:
        wanted = docker.daemon_json(options, text)
    except InputError as error:
        raise InputError(error.problem, where=str(path), remedy=error.remedy) from error
    _write(path, wanted, mode)


def _there(path: Path) -> tuple[str, int]:
    """What stands in a file that need not be there, and its mode."""
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        return "", 0o644
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return _read(path), mode


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError("there is no such file", remedy="the agent writes it when it is ready") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from error


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    try:
        write_atomically(path, text, mode)
    except OSError as error:
        raise KernelError(f"cannot be written: {error.strerror}", where=str(path), errno=error.errno or 0) from error
