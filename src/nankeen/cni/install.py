"""Installs what a container runtime needs to find nankeen: the executable and the network configuration list.

The executable is the compiled client where there is one (`nankeen.cni.compiled`), else its twin in Python. Both files
appear whole or not at all: a runtime may read, or start, them at any moment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

from nankeen.cni import client, compiled
from nankeen.cni.chain import TYPES
from nankeen.cni.flannelconf import TYPE
from nankeen.cni.wholefile import put
from nankeen.model.errors import InputError

BINARY_DIRECTORY = Path("/opt/cni/bin")
CONFIG_DIRECTORY = Path("/etc/cni/net.d")
EXECUTABLE = "nankeen"
STAND_INS = (TYPE, *sorted(TYPES))
"""The names of other plugins that the executable serves the configurations of, for who keeps a list that names them."""
CONFLIST = "10-nankeen.conflist"
NETWORK = "cbr0"
"""flannel's name for it: with it, pods that flannel attached keep their addresses."""
CONFLIST_VERSION = "1.0.0"
"""For runtimes that read no `cniVersions`: those with the reference library before 1.2, as Debian 12's containerd. They
could not read a result of 1.1.0.
"""
CONFLIST_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""The others take the newest of these that they know: from 0.4.0 on they may CHECK, from 1.1.0 on ask STATUS and GC."""
CAPABILITIES = ("aliases", "bandwidth", "dns", "ipRanges", "ips", "mac", "portMappings")
"""What a runtime may ask for a pod (CNI conventions, "Dynamic Plugin specific fields")."""

_MAX_SHEBANG = 127
"""Longest first line that every kernel reads, in bytes (BINPRM_BUF_SIZE was 128 before Linux 5.1)."""
_SOCKET_FIELD = 108
"""Size of sockaddr_un.sun_path in bytes, NUL included (linux/un.h)."""
_STATUS_FIELD = 256
"""Room for the status file's path in client.c, in bytes, NUL included."""


def install_executable(
    directory: Path = BINARY_DIRECTORY,
    content: bytes | None = None,
    *,
    socket: str = client.SOCKET,
    status: str = client.STATUS_FILE,
    names: Collection[str] = (),
) -> Path:
    """Puts the client into the directory, to ask the agent on that socket, and to tell from its status file why it does
    not answer; also under these of the `STAND_INS`. Raises `InputError` and `OSError`.
    """
    program = executable(socket, status) if content is None else content
    for name in names:
        put(directory / name, program, 0o755)
    return put(directory / EXECUTABLE, program, 0o755)


def executable(socket: str = client.SOCKET, status: str = client.STATUS_FILE) -> bytes:
    """The client that this machine has. Raises `InputError` and `OSError`."""
    program = compiled.find()
    return python_executable(socket, status) if program is None else compiled_executable(program, socket, status)


def compiled_executable(program: Path, socket: str = client.SOCKET, status: str = client.STATUS_FILE) -> bytes:
    """The compiled client, the two paths written over. Raises `InputError` and `OSError`."""
    _check_path(socket, _SOCKET_FIELD, "the agent's socket")
    _check_path(status, _STATUS_FIELD, "the agent's status file")
    content = program.read_bytes()
    for usual, path, size in ((client.SOCKET, socket, _SOCKET_FIELD), (client.STATUS_FILE, status, _STATUS_FIELD)):
        field = usual.encode().ljust(size, b"\0")
        if content.count(field) != 1:
            raise InputError("not a compiled client", where=str(program), remedy="remove it: it is made again")
        content = content.replace(field, path.encode().ljust(size, b"\0"))
    return content


def python_executable(
    socket: str = client.SOCKET, status: str = client.STATUS_FILE, interpreter: str = sys.executable
) -> bytes:
    """The client in Python. Raises `InputError`."""
    _check_path(socket, _SOCKET_FIELD, "the agent's socket")
    _check_path(status, _STATUS_FIELD, "the agent's status file")
    shebang = f"#!{os.path.realpath(interpreter)} -ISE"
    if len(shebang) > _MAX_SHEBANG or " " in shebang.removesuffix(" -ISE"):
        raise InputError("the interpreter's path cannot start an executable", where=interpreter)
    source = Path(client.__file__).read_text(encoding="utf-8")
    told = source.replace(f'SOCKET = "{client.SOCKET}"', f"SOCKET = {socket!r}", 1)
    told = told.replace(f'STATUS_FILE = "{client.STATUS_FILE}"', f"STATUS_FILE = {status!r}", 1)
    return f"{shebang}\n{told}".encode()


def install_conflist(directory: Path = CONFIG_DIRECTORY, content: bytes | None = None) -> Path:
    """Puts the network configuration list into the directory: from now on the runtime starts pods. Raises `OSError`."""
    return put(directory / CONFLIST, conflist() if content is None else content, 0o644)


def remove_conflist(directory: Path = CONFIG_DIRECTORY) -> None:
    """Takes the network configuration list away: from now on the runtime starts no pods here. Raises `OSError`.

    The client stays: pods that end meanwhile are to be taken back as soon as the agent is there again.
    """
    (directory / CONFLIST).unlink(missing_ok=True)


def conflist(network: str = NETWORK, version: str = CONFLIST_VERSION) -> bytes:
    """The network configuration list, with what flannel's own has. It is of one plugin, which does all there is."""
    plugin = {
        "type": EXECUTABLE,
        "hairpinMode": True,
        "isDefaultGateway": True,
        "capabilities": dict.fromkeys(CAPABILITIES, True),
    }
    document = {"cniVersion": version, "cniVersions": CONFLIST_VERSIONS, "name": network, "plugins": [plugin]}
    return json.dumps(document, indent=2).encode() + b"\n"


def _check_path(path: str, size: int, what: str) -> None:
    """Raises `InputError` where a client could not use the path, or not print it."""
    if not path.isprintable() or not 0 < len(path.encode()) < size:
        problem = f"cannot be the path of {what}"
        raise InputError(problem, where=repr(path), remedy=f"at most {size - 1} bytes, all printable")
