"""`flanneld`: the node daemon under flannel's name, started as flannel's is, with leases in etcd.

It is a program of its own, for units, images and scripts that call flanneld, and `nankeen flanneld` besides. Of
`nankeen agent` it differs in one default: where no registry is named it is flannel's, etcd on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from nankeen.cli import execute
from nankeen.cli.agent import own_flags, start
from nankeen.cli.flannelflags import flannel_flags
from nankeen.cli.goflags import GoCommand
from nankeen.registry.etcd_settings import EtcdSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """The program `flanneld`. Its exit status is 2 where the command line cannot be read, and 1 for all else that is
    wrong, as flannel's is.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    return execute(flanneld, words, "flanneld", refused=1)


def _run(**values: Any) -> int:  # noqa: ANN401  (each is a flag's, by its name)
    return start(click.get_current_context(), values, EtcdSettings())


flanneld = GoCommand(
    "flanneld",
    params=[*flannel_flags(), *own_flags()],
    callback=_run,
    short_help="The daemon of one node, started as flannel's is.",
    help="""The daemon of one node, started as flannel's is.

    It takes flanneld's flags and environment, and does with them what flanneld does: -x is as good as --x, a value
    follows as --x=v or --x v, a boolean flag takes it after = only. Each flag may come from the environment:
    $FLANNELD_ and its name, as in $FLANNELD_ETCD_ENDPOINTS; the command line goes first.""",
)
