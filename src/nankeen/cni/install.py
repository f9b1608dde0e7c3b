"""Installs what a container runtime needs to find nankeen: the executable and the network configuration list.

The executable is the compiled client where there is one (`nankeen.cni.compiled`), else its twin in Python. Both files
appear whole or not at all: a runtime may read, or start, them at any moment.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from nankeen.cni import client, compiled
from nankeen.cni.wholefile import put
from nankeen.model.errors import InputError

BINARY_DIRECTORY = Path("/opt/cni/bin")
CONFIG_DIRECTORY = Path("/etc/cni/net.d")
EXECUTABLE = "nankeen"
CONFLIST = "10-nankeen.conflist"
NETWORK = "cbr0"
"""flannel's name for it: with it, pods that flannel attached keep their addresses."""
CONFLIST_VERSION = "0.3.1"
"""flannel's version, too. From 0.4.0 on runtimes call CHECK, and from 1.1.0 on GC and STATUS, which we do not serve."""

_MAX_SHEBANG = 127
"""Longest first line that every kernel reads, in bytes (BINPRM_BUF_SIZE was 128 before Linux 5.1)."""
_SOCKET_FIELD = 108
"""Size of sockaddr_un.sun_path in bytes, NUL included (linux/un.h)."""


def install_executable(
    directory: Path = BINARY_DIRECTORY, content: bytes | None = None, *, socket: str = client.SOCKET
) -> Path:
    """Puts the client into the directory, to ask the agent on that socket. Raises `InputError` and `OSError`."""
    return put(directory / EXECUTABLE, executable(socket) if content is None else content, 0o755)


def executable(socket: str = client.SOCKET) -> bytes:
    """The client that this machine has. Raises `InputError` and `OSError`."""
    program = compiled.find()
    return python_executable(socket) if program is None else compiled_executable(program, socket)


def compiled_executable(program: Path, socket: str = client.SOCKET) -> bytes:
    """The compiled client, the path of its socket written over. Raises `InputError` and `OSError`."""
    _check_socket(socket)
    content = program.read_bytes()
    field = client.SOCKET.encode().ljust(_SOCKET_FIELD, b"\0")
    if content.count(field) != 1:
        raise InputError("not a compiled client", where=str(program), remedy="remove it: it is made again")
    return content.replace(field, socket.encode().ljust(_SOCKET_FIELD, b"\0"))


def python_executable(socket: str = client.SOCKET, interpreter: str = sys.executable) -> bytes:
    """The client in Python. Raises `InputError`."""
    _check_socket(socket)
    shebang = f"#!{os.path.realpath(interpreter)} -ISE"
    if len(shebang) > _MAX_SHEBANG or " " in shebang.removesuffix(" -ISE"):
        raise InputError("the interpreter's path cannot start an executable", where=interpreter)
    source = Path(client.__file__).read_text(encoding="utf-8")
    told = source.replace(f'SOCKET = "{client.SOCKET}"', f"SOCKET = {socket!r}", 1)
    return f"{shebang}\n{told}".encode()


def install_conflist(directory: Path = CONFIG_DIRECTORY, content: bytes | None = None) -> Path:
    """Puts the network configuration list into the directory: from now on the runtime starts pods. Raises `OSError`."""
    return put(directory / CONFLIST, conflist() if content is None else content, 0o644)


def remove_executable(directory: Path = BINARY_DIRECTORY) -> None:
    """Takes the client away; one that is not there is no error. Raises `OSError`."""
    (directory / EXECUTABLE).unlink(missing_ok=True)


def remove_conflist(directory: Path = CONFIG_DIRECTORY) -> None:
    """Takes the network configuration list away: from now on the runtime starts no pods here. Raises `OSError`."""
    (directory / CONFLIST).unlink(missing_ok=True)


def conflist(network: str = NETWORK, version: str = CONFLIST_VERSION) -> bytes:
    """The network configuration list, with what flannel's own has."""
    plugin = {"type": EXECUTABLE, "hairpinMode": True, "isDefaultGateway": True}
    return json.dumps({"cniVersion": version, "name": network, "plugins": [plugin]}, indent=2).encode() + b"\n"


def _check_socket(path: str) -> None:
    """Raises `InputError` where a client could not connect to the path, or not print it."""
    if not path.isprintable() or not 0 < len(path.encode()) < _SOCKET_FIELD:
        problem = "cannot be the path of the agent's socket"
        raise InputError(problem, where=repr(path), remedy=f"at most {_SOCKET_FIELD - 1} bytes, all printable")
