"""`nankeen config`: the network configuration in a registry."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import BinaryIO

import click

from nankeen.cli.output import json_option, json_text, print_json
from nankeen.cli.registry import ask, is_chosen, place, registry_options
from nankeen.model.errors import ConfigError, InputError
from nankeen.model.gojson import parse_value
from nankeen.model.netconf import WHERE
from nankeen.model.printable import printable
from nankeen.registry import make_registry
from nankeen.registry.configuration import Effects, change, foresee, unknown_members
from nankeen.registry.configuration import check as parse

_LONGEST = 1 << 20
"""Bytes of a configuration at most; a real one has a few hundred."""


@click.group()
def config() -> None:
    """The network configuration: what all nodes agree on, in the format of flannel's net-conf.json."""


@config.command(short_help="Print it.")
@click.option("--pretty", is_flag=True, help="A line for each member, instead of as it is written.")
@registry_options
@json_option
def get(pretty: bool, registry: str | None, name: str | None, as_json: bool) -> int:  # noqa: FBT001
    """Print the network configuration as it is written. Exit status 1 when it is a wrong one."""
    text = ask(place(registry, name).address, lambda opened: opened.configuration())
    problem = _problem(text)
    if as_json:
        print_json({"text": text, "problem": problem})
    else:
        _print_text(_pretty(text) if pretty else text)
    if problem:
        click.echo(f"it is wrong: {printable(problem)}", err=True)
    return 1 if problem else 0


@config.command(short_help="What is wrong with a file, and whom it would strand.")
@click.argument("file", metavar="FILE|-")
@registry_options
@json_option
def check(file: str, registry: str | None, name: str | None, as_json: bool) -> int:  # noqa: FBT001
    """Say what is wrong with a network configuration, without setting it.

    With --registry, $NANKEEN_REGISTRY or --name also which leases it would strand there. Exit status 1 when it would
    strand one, 2 when it is no configuration.
    """
    text = _read(file)
    parsed, compared = parse(text, _named(file)), is_chosen(registry, name)
    found = ask(place(registry, name).address, lambda opened: foresee(opened, text)) if compared else Effects()
    holds = not found.stranded
    if as_json:
        print_json({"holds": holds, "config": json.loads(parsed.to_json()), **_document(text, found)})
        return 0 if holds else 1
    _print(text, found)
    if holds:
        click.echo("it is right" + (", and strands no lease" if compared else ""))
    return 0 if holds else 1


@config.command("set", short_help="Give the cluster another one.")
@click.argument("file", metavar="FILE|-")
@click.option("--force", is_flag=True, help="Do it although it strands leases.")
@registry_options
@json_option
def set_config(file: str, force: bool, registry: str | None, name: str | None, as_json: bool) -> int:  # noqa: FBT001
    """Give the cluster another network configuration, which all agents follow while pods run.

    One that strands a lease is refused: the node would get another subnet, and nobody would reach the pods that it
    runs. Makes an SQLite registry where there is none yet. Exit status 1 when it was refused.
    """
    text, at = _read(file), place(registry, name)
    parse(text, _named(file))
    made = make_registry(at.address, text)
    found = Effects() if made else ask(at.address, lambda opened: change(opened, text, force=force))
    done = force or not found.stranded
    if as_json:
        print_json({"set": done, "made": made, **_document(text, found)})
        return 0 if done else 1
    _print(text, found)
    if not done:
        click.echo("refused, nothing was changed: --force sets it all the same")
        return 1
    click.echo(f"the registry is made: {at.address}" if made else "the network configuration is set")
    return 0


def _read(file: str) -> str:
    """The text of a file, or of standard input. Raises `InputError`."""
    try:
        if file == "-":
            return _decoded(sys.stdin.buffer, file)
        with Path(file).open("rb") as opened:
            return _decoded(opened, file)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=file) from error


def _decoded(source: BinaryIO, file: str) -> str:
    octets = source.read(_LONGEST + 1)
    if len(octets) > _LONGEST:
        raise InputError(f"more than {_LONGEST} bytes", where=_named(file), remedy="name a network configuration")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=_named(file), remedy="write it as UTF-8") from error


def _named(file: str) -> str:
    return "standard input" if file == "-" else file


def _problem(text: str) -> str:
    """What is wrong with it; "" where nothing is."""
    try:
        parse(text)
    except ConfigError as error:
        return str(error)
    return ""


def _pretty(text: str) -> str:
    """With a line for each member; as it is where it is not even JSON."""
    try:
        return json_text(parse_value(text, WHERE, ConfigError), indent=2)
    except ConfigError:
        return text


def _print_text(text: str) -> None:
    """As it is for a program; for a terminal without anything that moves its cursor."""
    if sys.stdout.isatty():
        text = "\n".join(printable(line.expandtabs(), _LONGEST) for line in text.splitlines())
    click.echo(text, nl=not text.endswith("\n"))


def _document(text: str, found: Effects) -> dict[str, object]:
    stranded = [{"node": lost.node, "subnet": lost.subnet, "why": lost.why} for lost in found.stranded]
    return {"stranded": stranded, "notes": [*found.notes, *unknown_members(text)]}


def _print(text: str, found: Effects) -> None:
    for lost in found.stranded:
        click.echo(f"strands {printable(str(lost))}")
    for note in (*found.notes, *unknown_members(text)):
        click.echo(f"note: {printable(note)}")
