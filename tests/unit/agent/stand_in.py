"""A data path that carries nothing: it listens, notes what it is told, and misbehaves in the manner that is asked for.

`python stand_in.py MANNER VERSION --socket PATH`; what it was told is in PATH with the suffix `.told`, a line each.
"""

from __future__ import annotations

import os
import select
import sys
import time
from dataclasses import replace
from pathlib import Path

from nankeen.tunnel.control import Answer, Ask, Counters, Done, Refused, Report, Request, Stop, encode_request
from nankeen.tunnel.listener import Listener

REPORT = Report("nothing", {"node2": Counters(1, 2, 3, 4)}, {"no peer": 5})


def main(manner: str, version: str, path: Path) -> None:
    if manner == "cannot start":
        sys.exit("there is no such thing")
    with Listener(path) as listener:
        while True:
            select.select([listener], [], [])
            for connection, request in listener.ready():
                listener.answer(connection, handle(manner, version, request, path))
                if request == Stop():
                    return


def handle(manner: str, version: str, request: Request, path: Path) -> Answer:
    with path.with_suffix(".told").open("ab") as told:
        told.write(encode_request(request))
    match manner, request:
        case "silent", _:
            time.sleep(3600)
        case "refuses", _:
            return Refused("there is no flannel0")
        case "dies", _:
            os.abort()
        case _, Ask():
            return replace(REPORT, version=version)
    return Done()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[4]))
