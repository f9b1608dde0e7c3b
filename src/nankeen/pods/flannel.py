"""Configurations of type flannel, served as flannel's own CNI plugin does: by what it delegates to.

The delegate is nearly always bridge with host-local, and that is done here, without executing anything. What was
delegated is kept in flannel's file, `<dataDir>/<container ID>`: either plugin can take back what the other made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from nankeen.cni.config import fields_of, parse_config
from nankeen.cni.error import CniError, Code
from nankeen.cni.flannelconf import FlannelConfig, delegate, is_served_inside
from nankeen.cni.request import Request, Verb
from nankeen.cni.result import Result
from nankeen.cni.wholefile import drafted, put, remove
from nankeen.model.errors import InputError
from nankeen.model.gojson import JSON, compact, parse_value
from nankeen.pods.delegate import execute

Inside = Callable[[Request], Awaitable[Result | None]]
"""Serves a request whose configuration is our own plugin's."""
_MAX_FILE = 1 << 20


async def serve(request: Request, config: FlannelConfig, inside: Inside) -> Result | bytes | None:
    """Serves a request with a configuration of type flannel. Raises `CniError`, and what `inside` raises."""
    match request.verb:
        case Verb.ADD:
            document = _delegate(config)
            _remember(request, config, document)
            return await _ask(request, document, inside)
        case Verb.DEL:
            document = _remembered(request, config) or delegate(config, None)
            done = await _ask(request, document, inside)
            remove(_path(request, config))
            return done
        case Verb.GC:
            done = await _ask(request, delegate(config, None), inside)
            _forget(request, config)
            return done
        case Verb.CHECK | Verb.STATUS:
            return await _ask(request, _delegate(config), inside)


async def _ask(request: Request, document: dict[str, JSON], inside: Inside) -> Result | bytes | None:
    fields = fields_of(document)
    if is_served_inside(document):
        return await inside(replace(request, config=parse_config(fields, default_gateway=False)))
    if request.verb in (Verb.CHECK, Verb.GC):
        told = fields_of(dict(request.document))
        keys = {Verb.CHECK: ("prevResult",), Verb.GC: ("cni.dev/valid-attachments", "cni.dev/attachments")}
        document |= {key: told.raw(key) for key in keys[request.verb] if told.raw(key) is not None}
    return await execute(request, fields.string("type"), document)


def _delegate(config: FlannelConfig) -> dict[str, JSON]:
    """What to delegate now. Raises `CniError` where the file of the node's subnet is not there, or is not whole."""
    try:
        text = config.subnet_file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        reason = (error.strerror or "").lower()
        problem = f"failed to load flannel 'subnet.env' file: open {config.subnet_file}: {reason}"
        raise CniError(Code.TRY_AGAIN_LATER, problem, remedy="the agent writes it when it is ready") from error
    return delegate(config, text)


def _path(request: Request, config: FlannelConfig) -> Path:
    return config.data_directory / request.container


def _remember(request: Request, config: FlannelConfig, document: dict[str, JSON]) -> None:
    config.data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    put(_path(request, config), compact(document).encode(), 0o600, lasting=False)


def _remembered(request: Request, config: FlannelConfig) -> dict[str, JSON] | None:
    """What an ADD delegated, ours or flannel's; None where nobody knows any more."""
    try:
        with _path(request, config).open("rb") as file:
            found = parse_value(file.read(_MAX_FILE), str(_path(request, config)))
        if isinstance(found, dict) and fields_of(found).string("name") == config.name:
            if is_served_inside(found):
                parse_config(fields_of(found))
            return found
    except (FileNotFoundError, NotADirectoryError, InputError, CniError):
        return None
    return None


def _forget(request: Request, config: FlannelConfig) -> None:
    """Removes the files of containers that are no more, and drafts of such. Those of other networks are left alone."""
    standing = {item.container for item in request.valid}
    if not config.data_directory.is_dir():
        return
    for path in config.data_directory.iterdir():
        begun = drafted(path.name)
        if (begun or path.name) in standing:
            continue
        if begun is not None or _remembered(replace(request, container=path.name), config) is not None:
            path.unlink(missing_ok=True)
