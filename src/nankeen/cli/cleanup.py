"""`nankeen cleanup`: a node as it was before nankeen or flannel came."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from nankeen.agent import removal
from nankeen.agent.cleanup import Cleanup
from nankeen.agent.cleanup import cleanup as decide
from nankeen.agent.removal import Failure
from nankeen.agent.traces import Places
from nankeen.cli.output import json_option, print_json
from nankeen.model.errors import InputError

_DEFAULTS = Places()
_PATH = click.Path(path_type=Path, file_okay=False)


@click.command(short_help="Remove all that nankeen or flannel left on this node.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Remove it also where pods lose their network by it.")
@click.option("--keep-files", is_flag=True, help="Leave the file system alone.")
@click.option("--cni-bin-dir", "cni_bin", type=_PATH, default=_DEFAULTS.cni_bin, show_default=True, help="Plugins.")
@click.option(
    "--cni-conf-dir", "cni_conf", type=_PATH, default=_DEFAULTS.cni_conf, show_default=True, help="Conflists."
)
@click.option(
    "--cni-data-dir", "cni_data", type=_PATH, default=_DEFAULTS.cni_data, show_default=True, help="Pod addresses."
)
@click.option("--flannel-dir", "flannel", type=_PATH, default=_DEFAULTS.flannel, show_default=True, help="subnet.env.")
@click.option("--run-dir", "run", type=_PATH, default=_DEFAULTS.run, show_default=True, help="The agent's status.")
@click.option("--state-dir", "state", type=_PATH, default=_DEFAULTS.state, show_default=True, help="Last known leases.")
@json_option
def cleanup(dry_run: bool, yes: bool, keep_files: bool, as_json: bool, **places: Path) -> int:  # noqa: FBT001
    """Remove all that nankeen, flannel or its CNI plugins left on this node.

    That is devices, the process of the udp backend, routes, IPsec policies, rules of the packet filter, and files. What
    is not theirs stays, sysctls stay as they are. The agent, or flanneld, must have been stopped.
    """
    chosen = Places(**places)
    found, unread = removal.survey(chosen)
    plan = decide(found, keep_files=keep_files)
    daemon = removal.running(chosen)
    if not as_json:
        _show(plan, unread)
    if dry_run:
        _conclude(plan, unread, daemon, as_json=as_json, dry_run=True)
        return 0
    if daemon is not None:
        raise InputError(daemon, remedy="stop it first: it would put back at once what is removed")
    if plan.pods and not yes and not _is_permitted(plan.pods, may_ask=sys.stdin.isatty() and not as_json):
        click.echo("nothing was removed")
        return 1
    failures = [*unread, *removal.remove(plan, chosen)]
    remaining = removal.remains(chosen, found.traces, failures, keep_files=keep_files)
    _conclude(plan, remaining, None, as_json=as_json, dry_run=False)
    return 1 if remaining else 0


def _is_permitted(pods: Sequence[str], *, may_ask: bool) -> bool:
    """Asks a person; raises `InputError` where there is nobody to ask."""
    warning = f"pods lose their network, those on {', '.join(pods)}"
    if not may_ask:
        raise InputError(warning, remedy="stop them first, or say --yes")
    return click.confirm(f"{warning}. Remove it all?")


def _show(plan: Cleanup, unread: Sequence[Failure]) -> None:
    for name, lines in plan.groups.items():
        click.echo(name)
        for line in lines:
            click.echo(f"  - {line}")
    if plan.notes:
        click.echo("notes")
        for note in plan.notes:
            click.echo(f"  · {note.what}: {note.why}")
    for failure in unread:
        click.echo(f"  ! {failure.what}: {failure.why}")


def _conclude(plan: Cleanup, remaining: Sequence[Failure], daemon: str | None, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json({
            "dry_run": dry_run,
            "running": daemon,
            "remove": plan.groups,
            "pods": plan.pods,
            "notes": [note._asdict() for note in plan.notes],
            "remains": [failure._asdict() for failure in remaining],
        })  # fmt: skip
        return
    if dry_run:
        for line in _hindrances(plan, daemon):
            click.echo(line)
    else:
        for failure in remaining:
            click.echo(f"remains: {failure.what}: {failure.why}")
    if not plan.groups and not remaining:
        click.echo("nothing of nankeen or flannel is here")
    elif dry_run:
        click.echo("nothing was removed: --dry-run")
    elif not remaining:
        click.echo("removed; sysctls are left as they are")


def _hindrances(plan: Cleanup, daemon: str | None) -> Iterator[str]:
    if daemon is not None:
        yield f"{daemon}: it must be stopped first"
    if plan.pods:
        yield f"pods lose their network, those on {', '.join(plan.pods)}"
