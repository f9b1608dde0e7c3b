"""`nankeen leases`: who holds which subnet, and who shall."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import aclosing

import click

from nankeen.cli.output import PROGRAM, json_option, json_text, print_json, print_table, utc
from nankeen.cli.registry import Place, ask, place, registry_options
from nankeen.inspect.leases import Stock, find, take_stock
from nankeen.inspect.news import Event, events, follow
from nankeen.model.address import parse_network
from nankeen.model.errors import InputError
from nankeen.model.lease import Lease
from nankeen.model.printable import LONGEST_NAME, printable
from nankeen.registry import Registry, Snapshot
from nankeen.registry.choice import words
from nankeen.registry.reservation import reserve as keep

_LINES = 10
"""Rejected entries that are printed one by one."""
_LONG = 2 * 365 * 86_400
"""Seconds from which on nobody counts: somebody wrote that lease by hand."""
_TITLES = ("NODE", "SUBNETS", "ADDRESS", "BACKEND", "OFFERS", "EXPIRES IN")


class _Leases(click.Group):
    """A group that lists where no other command is named."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in context.help_option_names):
            args = ["list", *args]
        return super().parse_args(context, args)


@click.group(cls=_Leases)
def leases() -> None:
    """Who holds which subnet of the pod network: list it, watch it, reserve and release.

    Without a command it lists.
    """


@leases.command("list", short_help="Leases, reservations, and what is free.")
@registry_options
@json_option
def list_leases(registry: str | None, name: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Leases, reservations, and what is free."""
    stock = take_stock(ask(place(registry, name).address, _snapshot))
    if as_json:
        print_json(_document(stock))
    else:
        _print(stock)


@leases.command(short_help="A line whenever a lease changes.")
@click.option("-v", "--verbose", is_flag=True, help="Also when a lease was only renewed.")
@registry_options
@json_option
def watch(registry: str | None, name: str | None, verbose: bool, as_json: bool) -> None:  # noqa: FBT001
    """A line whenever a node joins, leaves, moves or changes, until interrupted.

    With --json each line is one document.
    """
    say = _say_document if as_json else _say_line

    async def look(opened: Registry) -> None:
        before: Snapshot | None = None
        async with aclosing(follow(opened, renewals=verbose)) as snapshots:
            async for after in snapshots:
                if before is None:
                    say(None, after)
                for event in events(before, after) if before else ():
                    say(event, after)
                before = after

    ask(place(registry, name).address, look)


@leases.command(short_help="Keep subnets for a node.")
@click.argument("node")
@click.argument("subnets", nargs=-1, metavar="SUBNET…")
@click.option("--end", is_flag=True, help="End the node's reservation instead.")
@registry_options
@json_option
def reserve(
    node: str,
    subnets: tuple[str, ...],
    end: bool,  # noqa: FBT001
    registry: str | None,
    name: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Keep subnets for a node, one of each family at most: they go to nobody else, and do not expire.

    What was reserved for it before is no longer. A node that has a lease keeps that while it lasts.
    """
    kept = tuple(parse_network(subnet) for subnet in subnets)
    if end == bool(kept):
        raise InputError("what to reserve is not clear", remedy="name subnets, or say --end, and not both")
    notes = ask(place(registry, name).address, lambda opened: keep(opened, node, kept))
    if as_json:
        print_json({"node": node, "reserved": kept, "notes": notes})
        return
    click.echo(f"{words(kept)} reserved for {node}" if kept else f"nothing is reserved for {node} any more")
    for note in notes:
        click.echo(f"  {note}")


@leases.command(short_help="Give a lease back for a node.")
@click.argument("what", metavar="NODE|SUBNET")
@click.option("--force", is_flag=True, help="Do it although the node may be at work.")
@registry_options
@json_option
def release(what: str, force: bool, registry: str | None, name: str | None, as_json: bool) -> int:  # noqa: FBT001
    """Give a lease back, for a node that is gone for good and left before its lease expired.

    A node that is at work takes a lease again at once; until then nobody reaches its pods.
    """
    at = place(registry, name)
    snapshot = ask(at.address, _snapshot)
    lease = find(snapshot, what)
    if not force and not _is_permitted(_warning(lease, at), may_ask=sys.stdin.isatty() and not as_json):
        click.echo("nothing was released")
        return 1
    ask(at.address, lambda opened: opened.release(lease))
    kept = snapshot.reservations.get(lease.node, ())
    if as_json:
        print_json({"released": _lease_document(lease), "reserved": kept})
        return 0
    click.echo(f"{words(lease.subnets)} of {lease.node} released")
    if kept:
        click.echo(f"  {words(kept)} stays reserved for it; `{PROGRAM} leases reserve {lease.node} --end` ends that")
    return 0


async def _snapshot(registry: Registry) -> Snapshot:
    return await registry.snapshot()


def _warning(lease: Lease, at: Place) -> str:
    pods = [pod.name for pod in at.lab.pods if pod.node == lease.node] if at.lab else []
    whose = ", ".join(pods) if pods else "its pods"
    return f"{lease.node} may be at work: it holds {words(lease.subnets)}, {_expiry(lease)}; {whose} would be cut off"


def _is_permitted(warning: str, *, may_ask: bool) -> bool:
    """Asks a person; raises `InputError` where there is nobody to ask."""
    if not may_ask:
        raise InputError(warning, remedy="stop its agent first if it runs, then say --force")
    return click.confirm(f"{warning}. Release it?")


def _expiry(lease: Lease) -> str:
    left = _left(lease)
    return "without expiry" if left == "never" else f"which expires in {left}"


def _left(lease: Lease) -> str:
    """The time until it expires, in hours, minutes or seconds."""
    if lease.expires is None:
        return "never"
    left = lease.expires - time.time()
    if left > _LONG:
        return "years"
    seconds = max(0, int(left))
    minutes = seconds // 60
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def _print(stock: Stock) -> None:
    print_table(_TITLES, [_row(holding.lease) for holding in stock.holdings])
    for holding in stock.holdings:
        for remark in holding.remarks:
            click.echo(f"  {holding.lease.node}: {remark}")
    for node, subnets in stock.unused.items():
        click.echo(f"  reserved for {printable(node, LONGEST_NAME)}, not leased: {words(subnets)}")
    for key, reason in list(stock.rejected.items())[:_LINES]:
        click.echo(f"  rejected, {printable(key, LONGEST_NAME)}: {printable(reason)}")
    if len(stock.rejected) > _LINES:
        click.echo(f"  {len(stock.rejected) - _LINES} more entries are rejected; --json names them all")
    click.echo()
    for pool, held in stock.pools:
        click.echo(f"{pool.network}: {held} of {pool.size} subnets held, {pool.size - held} free")
    for note in stock.notes:
        click.echo(note)


def _row(lease: Lease) -> tuple[str, ...]:
    offers = " ".join(offer.backend for offer in lease.offers)
    return (
        printable(lease.node, LONGEST_NAME),
        " ".join(map(str, lease.subnets)),
        " ".join(str(endpoint.reach.address) for endpoint in lease.endpoints),
        printable(lease.backend, LONGEST_NAME) or "-",
        printable(offers, LONGEST_NAME) or "-",
        _left(lease),
    )


def _document(stock: Stock) -> dict[str, object]:
    return {
        "revision": stock.revision,
        "leases": [{**_lease_document(lease), "remarks": remarks} for lease, remarks in stock.holdings],
        "pools": [{"network": use.pool.network, "subnets": use.pool.size, "free": use.free} for use in stock.pools],
        "reserved": stock.unused,
        "rejected": stock.rejected,
        "notes": stock.notes,
    }


def _lease_document(lease: Lease) -> dict[str, object]:
    return {
        "node": lease.node,
        "subnets": lease.subnets,
        "addresses": [endpoint.reach.address for endpoint in lease.endpoints],
        "backend": lease.backend,
        "offers": [offer.backend for offer in lease.offers],
        "expires": None if lease.expires is None else utc(lease.expires),
    }


def _say_document(event: Event | None, snapshot: Snapshot) -> None:
    """One line; what happened first of all is that somebody looked."""
    if event is None:
        told: dict[str, object] = {"event": "watching", "revision": snapshot.revision, "leases": len(snapshot.leases)}
    else:
        told = {"event": event.what, "node": event.node, "detail": event.detail}
        told |= _lease_document(event.lease) if event.lease else {}
    click.echo(json_text({"time": utc(time.time()), **told}))


def _say_line(event: Event | None, snapshot: Snapshot) -> None:
    if event is None:
        text = f"watching, leases: {len(snapshot.leases)}"
    else:
        text = " ".join([event.what.ljust(10), *_parts(event)])
    click.echo(f"{utc(time.time())} {printable(text)}")


def _parts(event: Event) -> Iterable[str]:
    if event.node:
        yield printable(event.node, LONGEST_NAME)
    if event.detail:
        yield event.detail
    elif event.lease:
        yield f"{words(event.lease.subnets)} by {event.lease.backend or 'no backend'}"
