"""How commands ask a running lab: one JSON document each way over a Unix socket in the lab's directory.

    {"do": "pod add", "node": "node2", "containers": 2, "asked": {}}     {"answer": {…}}
    {"do": "differences"}                                                {"answer": {"leases": {…}, "differences": {…}}}
    {"do": "pod del", "pod": "pod4"}                                     {"problem": "…", "where": "…", "remedy": "…"}

The directory's mode, 0700, keeps others out.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nankeen.lab import places
from nankeen.lab.lab import Lab
from nankeen.model.errors import LabError, NankeenError

Handler = Callable[[Mapping[str, Any]], object]

_ASKING = 5.0
"""Seconds that a client has to say what it wants."""
_ANSWERING = 60.0
"""Seconds that a lab has to do it."""
_LONGEST = 64 << 10
"""Octets of a request at most. An answer is as long as it must be."""


def listen(directory: Path) -> socket.socket:
    """The lab's socket."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(directory / places.CONTROL))
    server.listen()
    return server


def answer(server: socket.socket, handle: Handler) -> None:
    """Serves one client; what is wrong with it, or with what it wants, is told to it and to nobody else."""
    client, _ = server.accept()
    with client:
        client.settimeout(_ASKING)
        try:
            request = json.loads(_read(client, _LONGEST))
            reply = {"answer": handle(request)}
        except NankeenError as error:
            reply = {"problem": error.problem, "where": error.where, "remedy": error.remedy}
        except (ValueError, TypeError, KeyError, OSError) as error:
            reply = {"problem": f"this cannot be done: {error!r}", "where": "", "remedy": ""}
        _send(client, reply)


def ask(lab: Lab, request: Mapping[str, Any]) -> Any:  # noqa: ANN401 (what JSON can say)
    """What a running lab answers. Raises `LabError`."""
    where = f"lab {lab.name}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(_ANSWERING)
            client.connect(str(lab.directory / places.CONTROL))
            client.sendall(json.dumps(request).encode())
            client.shutdown(socket.SHUT_WR)
            reply = json.loads(_read(client))
    except TimeoutError:
        raise LabError(f"does not answer within {_ANSWERING:g} s", where=where) from None
    except (OSError, ValueError) as error:
        remedy = f"try `nankeen lab down --name {lab.name}`"
        raise LabError(f"does not answer: {error}", where=where, remedy=remedy) from error
    if "problem" in reply:
        raise LabError(reply["problem"], where=reply["where"] or where, remedy=reply["remedy"])
    return reply["answer"]


def _read(connection: socket.socket, most: int | None = None) -> bytes:
    """All that comes, `most` octets of it at most. Raises `ValueError` where there is more."""
    data = bytearray()
    while chunk := connection.recv(_LONGEST):
        data += chunk
        if most is not None and len(data) > most:
            raise ValueError("too long")
    return bytes(data)


def _send(client: socket.socket, reply: Mapping[str, object]) -> None:
    try:
        client.sendall(json.dumps(reply).encode())
    except OSError:
        return  # it did not wait for the answer, which is its own affair
