"""Another CNI plugin, executed in our place by the specification's rules (CNI 1.1.0, section 4 "Plugin Delegation")."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nankeen.cni.error import CniError, Code
from nankeen.cni.flannelconf import check_delegate
from nankeen.cni.request import Request, Verb
from nankeen.model.gojson import JSON
from nankeen.model.printable import printable

_MAX_ANSWER = 1 << 20
"""Longest answer that is passed on, in bytes."""
_TAKING_BACK = 5.0
"""Seconds that a plugin has to take back what it could not finish."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(kind: str, directories: tuple[str, ...]) -> Path:
    """The plugin's executable; `kind` is its name. Raises `CniError`."""
    check_delegate(kind)
    for directory in directories:
        path = Path(directory, kind)
        if path.is_file() and os.access(path, os.X_OK):
            return path
    problem = f"failed to find plugin {kind!r} in path {list(directories)}"
    raise CniError(Code.INVALID_CONFIG, problem, where="delegate.type", remedy="install it, or put it in CNI_PATH")


async def execute(request: Request, kind: str, document: Mapping[str, JSON]) -> bytes:
    """What the plugin answers when it is asked the same with that configuration. Raises `CniError` and `OSError`.

    An ADD that fails is taken back by a DEL, as the specification has it.
    """
    path = find(kind, request.path)
    try:
        return await _execute(request, path, document)
    except BaseException:
        if request.verb is Verb.ADD:
            with suppress(CniError, OSError, TimeoutError):  # it is the ADD's error that is told
                async with asyncio.timeout(_TAKING_BACK):
                    await _execute(replace(request, verb=Verb.DEL), path, document)
        raise


async def _execute(request: Request, path: Path, document: Mapping[str, JSON]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(request),
        cwd="/",
    )
    try:
        output, errors = await process.communicate(json.dumps(document).encode())
    except BaseException:  # out of time, or the agent ends
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode:
        raise _failure(str(path), output, errors)
    if len(output) > _MAX_ANSWER:
        raise CniError(Code.INPUT_OUTPUT, f"answered more than {_MAX_ANSWER} bytes", where=str(path))
    return output if request.verb is Verb.ADD else b""


def _environment(request: Request) -> dict[str, str]:
    """The variables of the specification, section 2, and a PATH for plugins that execute others."""
    return {
        "PATH": _PATH,
        "CNI_COMMAND": request.verb.value,
        "CNI_CONTAINERID": request.container,
        "CNI_NETNS": request.namespace,
        "CNI_IFNAME": request.interface,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in request.args.items()),
        "CNI_PATH": ":".join(request.path),
    }


def _failure(where: str, output: bytes, errors: bytes) -> CniError:
    """A plugin's error: the document that the specification wants, or whatever it left."""
    try:
        found = json.loads(output)
        code, text, details = int(found["code"]), str(found["msg"]), str(found.get("details") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        told = (output + b" " + errors).decode(errors="replace").strip()
        return CniError(Code.INTERNAL, printable(told, 500) or "failed without a word", where=where)
    return CniError(code, printable(text), where=where, remedy=printable(details))
