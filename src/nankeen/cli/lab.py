"""`nankeen lab`: whole clusters on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from nankeen.cli.output import PROGRAM, json_option, print_json, print_table
from nankeen.cli.registry import VARIABLE
from nankeen.lab import entry, record
from nankeen.lab.lab import LabPod
from nankeen.model.address import Family
from nankeen.model.errors import InputError

FAMILIES = {"ipv4": (Family.IPV4,), "ipv6": (Family.IPV6,), "dual": (Family.IPV4, Family.IPV6)}

_LINES = 10
"""Refused leases of a node that are printed one by one."""

name_option = click.option("--name", default="lab", show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Whole clusters on this machine, in network namespaces.

    A lab has switches, nodes and pods, and runs the real agent on every node. It needs no privileges: root builds it as
    it is, everybody else in a user namespace. Nodes are called node1…, pods pod1….
    """


@lab.command(short_help="Build and start a cluster.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="The lab's name.  [default: lab, or the file's]")
@click.option("--nodes", type=click.IntRange(1, 240), help="How many nodes.  [default: 3]")
@click.option("--pods", type=click.IntRange(0, 5000), help="How many pods, spread over the nodes.  [default: 2]")
@click.option("--backend", help="vxlan, host-gw, ipip or another; one with options needs a FILE.  [default: vxlan]")
@click.option("--registry", help="Where leases are kept: sqlite, or an etcd of its own.  [default: sqlite]")
@click.option("--family", type=click.Choice(list(FAMILIES)), help="The pod network's addresses.  [default: ipv4]")
@json_option
def up(file: Path | None, name: str | None, as_json: bool, **flags: Any) -> None:  # noqa: ANN401, FBT001 (click's)
    """Build and start a cluster, from a FILE or from the options.

    The file is YAML after containerlab's convention, with flannel's net-conf.json under `network`; examples/ has some.
    """
    labfile, launch = import_module("nankeen.lab.labfile"), import_module("nankeen.lab.launch")
    for number in (signal.SIGTERM, signal.SIGHUP):  # as for the keyboard's: what was begun is taken down
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    topology = labfile.read(file, _changes(name, flags)) if file else labfile.from_flags(*_flags(name, flags))
    made = launch.up(topology, progress=_quiet if as_json else _progress)
    seconds = time.monotonic() - began
    if as_json:
        print_json({**record.document(made), "seconds": round(seconds, 3)})
        return
    click.echo(f"lab {made.name} is up in {seconds:.1f} s: {_count(made.nodes, 'node')}, {_count(made.pods, 'pod')}")
    option = "" if made.name == "lab" else f" --name {made.name}"
    click.echo(f"try: {PROGRAM} lab status{option}; {PROGRAM} lab exec{option} {made.members[-1].name} -- ip address")


@lab.command()
@name_option
@json_option
def down(name: str, as_json: bool) -> None:  # noqa: FBT001
    """Take a lab down: nothing of it is left."""
    import_module("nankeen.lab.teardown").down(record.load(name))
    _say(as_json, {"name": name, "down": True}, f"lab {name} is down")


@lab.command("list")
@json_option
def list_labs(as_json: bool) -> None:  # noqa: FBT001
    """The labs of this user."""
    rows = [
        {"name": lab.name, "state": lab.state, "nodes": len(lab.nodes), "pods": len(lab.pods)} for lab in record.labs()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(("NAME", "STATE", "NODES", "PODS"), [tuple(map(str, row.values())) for row in rows])


@lab.command(short_help="How its nodes, agents and pods are.")
@name_option
@json_option
def status(name: str, as_json: bool) -> int:  # noqa: FBT001
    """Nodes, leases, pods and agents, and whether each agent's kernel is as it should be."""
    report = import_module("nankeen.lab.status").report(record.load(name))
    if as_json:
        print_json(record.document(report))
    else:
        _print_report(report)
    return 0 if report.holds else 1


@lab.command("exec", short_help="Run a command in a node or pod.")
@name_option
@click.option("--container", help="Which container of a pod.  [default: the first]")
@click.argument("member", metavar="NODE-OR-POD")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
def execute(name: str, container: str | None, member: str, command: tuple[str, ...], as_json: bool) -> int:  # noqa: FBT001
    """Run a command in a node, pod, switch or router; its exit status is passed on.

    Options of the command's own come after `--`: nankeen lab exec node1 -- ip -6 route
    """
    if not as_json:
        return _run(name, member, list(command), container)
    done = _captured(name, member, list(command), container)
    print_json({"member": member, "command": list(command), **done})
    return int(done["status"])


@lab.command()
@name_option
@click.option("--container", help="Which container of a pod.  [default: the first]")
@click.argument("member", metavar="NODE-OR-POD")
def shell(name: str, container: str | None, member: str) -> int:
    """A shell in a node or pod."""
    os.environ["PS1"] = f"{member}# "
    return _run(name, member, [os.environ.get("SHELL", "/bin/sh")], container)


@lab.command()
@name_option
@click.option("--kill", is_flag=True, help="Kill it with SIGKILL instead of asking it to end.")
@click.argument("node")
@json_option
def restart(name: str, kill: bool, node: str, as_json: bool) -> None:  # noqa: FBT001
    """Restart a node's agent."""
    control = import_module("nankeen.lab.control")
    pid = control.ask(record.find_lab(name), {"do": "agent restart", "node": node, "kill": kill})
    _say(as_json, {"node": node, "agent": pid}, f"agent of {node} restarted")


@lab.group()
def pod() -> None:
    """Add and delete pods of a running lab."""


@pod.command()
@name_option
@click.option("--node", help="On which node.  [default: the next in turn]")
@click.option("--containers", type=click.IntRange(1, 16), default=1, show_default=True, help="How many containers.")
@click.option(
    "--publish", multiple=True, metavar="[IP:]PORT:POD_PORT[/udp]", help="A port of the node that leads to it."
)
@click.option("--bandwidth", metavar="RATE", help="Bits per second, each way: 100M.")
@json_option
def add(name: str, *, as_json: bool, publish: tuple[str, ...], bandwidth: str | None, **where: str | int | None) -> int:
    """Start a pod, and show that its containers share one address and reach each other over localhost.

    Its containers answer on port 8080 and those after it: nankeen lab pod add --node node1 --publish 80:8080
    """
    asked = import_module("nankeen.lab.capabilities").arguments(publish, bandwidth)
    control = import_module("nankeen.lab.control")
    new = control.ask(record.find_lab(name), {"do": "pod add", **where, "asked": asked})
    if as_json:
        print_json(new)
    else:
        _print_pod(new)
    return 0 if new["shared"] else 1


@pod.command("del")
@name_option
@click.argument("member", metavar="POD")
@json_option
def delete(name: str, member: str, as_json: bool) -> None:  # noqa: FBT001
    """Delete a pod."""
    import_module("nankeen.lab.control").ask(record.find_lab(name), {"do": "pod del", "pod": member})
    _say(as_json, {"name": member, "deleted": True}, f"pod {member} is deleted")


def _flags(name: str | None, flags: dict[str, Any]) -> tuple[str, int, int, dict[str, Any], str]:
    """What the options say, and their defaults where they say nothing."""
    labfile = import_module("nankeen.lab.labfile")
    network = labfile.default_network(FAMILIES[flags["family"] or "ipv4"], flags["backend"] or "vxlan")
    nodes, pods = flags["nodes"] or 3, 2 if flags["pods"] is None else flags["pods"]
    return name or "lab", nodes, pods, network, flags["registry"] or "sqlite"


def _changes(name: str | None, flags: dict[str, Any]) -> dict[str, Any]:
    """What the options change of a file. Raises `InputError` for those that only a file can say when there is one."""
    for flag in ("nodes", "pods", "backend", "family"):
        if flags[flag] is not None:
            raise InputError(f"--{flag} together with a lab file", remedy="say it in the file")
    return {key: value for key, value in (("name", name), ("registry", flags["registry"])) if value is not None}


def _run(
    name: str, member: str, command: Sequence[str], container: str | None, output: tuple[int, int] = (1, 2)
) -> int:
    running = record.find_lab(name)
    found = running.member(member)
    os.environ[VARIABLE] = running.registry  # of commands inside, `nankeen leases` and others are about this lab
    inside = (
        entry.container_of(found, container) if isinstance(found, LabPod) and (found.containers or container) else None
    )
    return entry.run_inside(running, found.namespaces, command, inside, output)


def _captured(name: str, member: str, command: Sequence[str], container: str | None) -> dict[str, Any]:
    with os.fdopen(os.memfd_create("stdout"), "r+b") as out, os.fdopen(os.memfd_create("stderr"), "r+b") as err:
        status = _run(name, member, command, container, (out.fileno(), err.fileno()))
        texts = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0) for file in (out, err)]
    stdout, stderr = (text.decode(errors="replace") for text in texts)
    return {"status": status, "stdout": stdout, "stderr": stderr}


def _print_report(report: Any) -> None:  # noqa: ANN401 (nankeen.lab.status is imported on demand)
    click.echo(f"lab {report.name}: {report.state}")
    rows = [
        (node.name, " ".join(node.addresses), " ".join(node.lease), node.agent, str(node.peers), _in_step(node))
        for node in report.nodes
    ]
    click.echo()
    print_table(("NODE", "UNDERLAY", "LEASE", "AGENT", "PEERS", "KERNEL"), rows)
    for node in report.nodes:
        for refusal in node.rejected[:_LINES]:
            click.echo(f"  {node.name} refuses the lease of {refusal}")
        if len(node.rejected) > _LINES:
            click.echo(f"  {node.name} refuses {len(node.rejected) - _LINES} more leases; --json names them all")
        for difference in node.differences or ():
            click.echo(f"  {node.name}: {difference}")
        for note in node.notes:
            click.echo(f"  {node.name} {note}")
    pods = [(pod.name, pod.node, " ".join(pod.addresses), " ".join(pod.containers)) for pod in report.pods]
    click.echo()
    print_table(("POD", "NODE", "ADDRESS", "CONTAINERS"), pods)


def _in_step(node: Any) -> str:  # noqa: ANN401 (as above)
    if node.differences is None:
        return "-"
    return _count(node.differences, "difference") if node.differences else "in step"


def _print_pod(pod: dict[str, Any]) -> None:
    click.echo(f"{pod['name']} on {pod['node']}: {' '.join(pod['addresses'])}")
    for talk in pod["localhost"]:
        answer = f"{talk['answers']} answers" if talk["answers"] else "nobody answers"
        click.echo(f"  {talk['asks']} sees {' '.join(talk['sees'])}, asks localhost:{talk['port']}: {answer}")


def _say(as_json: bool, document: dict[str, Any], text: str) -> None:  # noqa: FBT001
    if as_json:
        print_json(document)
    else:
        click.echo(text)


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _quiet(_: str) -> None:
    """For programs: standard error is for errors."""


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}" if len(items) == 1 else f"{len(items)} {noun}s"
