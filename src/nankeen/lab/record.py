"""The record of a lab, `lab.json`, by which every command finds it.

It is written before anything is built, so that whatever is left of a broken lab can be found and removed.
"""

from __future__ import annotations

import json
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from nankeen.lab import places
from nankeen.lab.lab import Lab, LabContainer, LabNode, LabPod, LabRouter, LabServer, LabSwitch, Namespaces
from nankeen.lab.process import Process
from nankeen.model.errors import LabError


def find_lab(name: str = "lab") -> Lab:
    """The lab of that name, ready for use. Raises `LabError` where there is none, or it is not running."""
    lab = load(name)
    if not lab.is_alive:
        raise LabError("is not running any more", where=f"lab {name}", remedy=f"try `nankeen lab down --name {name}`")
    if lab.phase != "ready":
        raise LabError("is still being built", where=f"lab {name}", remedy="wait until `nankeen lab up` is done")
    return lab


def labs() -> list[Lab]:
    """Every lab of this user, running or not, by name."""
    directory = places.home()
    return [load(entry.name) for entry in sorted(directory.iterdir())] if directory.is_dir() else []


def load(name: str) -> Lab:
    """The lab of that name, in whatever state. Raises `LabError`."""
    return read(places.home() / name)


def read(directory: Path) -> Lab:
    """The lab of a directory. Raises `LabError` where there is none."""
    where = f"lab {directory.name}"
    try:
        text = (directory / places.RECORD).read_text()
    except FileNotFoundError:
        if directory.is_dir():  # it was given up before its record was written: there is nothing else of it
            return Lab(directory.name, directory, places.is_rootless(), "{}")
        raise LabError("there is no such lab", where=where, remedy="see `nankeen lab list`") from None
    except OSError as error:
        raise LabError(f"its record cannot be read: {error.strerror}", where=where) from error
    return parse(text, directory)


def save(lab: Lab) -> None:
    """Writes the record: whole, or not at all."""
    temporary = lab.directory / f".{places.RECORD}"
    temporary.write_text(render(lab))
    temporary.replace(lab.directory / places.RECORD)


def render(lab: Lab) -> str:
    """The record's text: the fields of the values above, by their names."""
    return json.dumps(document(lab), indent=1)


def document(value: object) -> Any:  # noqa: ANN401 (what JSON can say)
    """A value as JSON has it: its fields by name, addresses and paths as text."""
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None:
        return {name: document(getattr(value, name)) for name in fields}
    if isinstance(value, tuple):
        return [document(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def parse(text: str, directory: Path) -> Lab:
    """The lab that a record tells of. Raises `LabError` where it is none."""
    try:
        fields = json.loads(text)
        return Lab(
            name=fields["name"],
            directory=directory,
            rootless=fields["rootless"],
            network=fields["network"],
            phase=fields["phase"],
            supervisor=Process(**fields["supervisor"]) if fields["supervisor"] else None,
            switches=tuple(LabSwitch(**_member(switch)) for switch in fields["switches"]),
            routers=tuple(LabRouter(**_member(router)) for router in fields["routers"]),
            nodes=tuple(LabNode(**_member(node)) for node in fields["nodes"]),
            servers=tuple(LabServer(**_member(server)) for server in fields["servers"]),
            pods=tuple(LabPod(**_member(pod)) for pod in fields["pods"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        problem = f"this is no record of a lab: {error}"
        raise LabError(problem, where=str(directory / places.RECORD), remedy="remove the lab's directory") from error


def _member(fields: dict[str, Any]) -> dict[str, Any]:
    paths = {kind: path and Path(path) for kind, path in fields["namespaces"].items()}
    made = {**fields, "namespaces": Namespaces(**paths)}
    if "addresses" in fields:
        made["addresses"] = tuple(ip_interface(text) for text in fields["addresses"])
    if "directory" in fields:
        made["directory"] = Path(fields["directory"])
    if "containers" in fields:
        made["containers"] = tuple(LabContainer(**container) for container in fields["containers"])
    return made
