"""Which registry a command is about: what commands on registries share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import click

from nankeen.lab import Lab, record
from nankeen.model.errors import InputError
from nankeen.registry import Registry, open_registry

DEFAULT = "sqlite:///var/lib/nankeen/registry.db"
VARIABLE = "NANKEEN_REGISTRY"

_Result = TypeVar("_Result")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Place(NamedTuple):
    """A registry's address, and the lab that it belongs to, if it does to one."""

    address: str
    lab: Lab | None = None


def registry_options(command: _Command) -> _Command:
    """Options that arrive as the arguments `registry` and `name`; `place` makes an address of them."""
    shown = f"Where the leases are.  [default: ${VARIABLE}, or {DEFAULT}]"
    command = click.option("--name", metavar="LAB", help="That of a lab.")(command)
    return click.option("--registry", metavar="ADDRESS", help=shown)(command)


def place(registry: str | None, name: str | None) -> Place:
    """What the options and the environment say. Raises `InputError` and `LabError`."""
    if registry and name:
        raise InputError("--registry together with --name", remedy="say one of them")
    if name:
        lab = record.load(name)
        import_module("nankeen.lab.registries").approach(lab)
        return Place(lab.registry, lab)
    return Place(registry or os.environ.get(VARIABLE) or DEFAULT)


def is_chosen(registry: str | None, name: str | None) -> bool:
    """Whether somebody named a registry, so that it is not the one that there usually is."""
    return bool(registry or name or os.environ.get(VARIABLE))


def ask(address: str, question: Callable[[Registry], Awaitable[_Result]]) -> _Result:
    """What a registry answers. Raises `NankeenError`."""
    return asyncio.run(_ask(address, question))


async def _ask(address: str, question: Callable[[Registry], Awaitable[_Result]]) -> _Result:
    registry = open_registry(address)
    try:
        return await question(registry)
    finally:
        registry.close()
