"""The `nankeen` command line.

A command is one file of this package. It is imported only when it is called for, so that each starts fast. A command
parses, calls and renders; what it calls lives on the floors below. It returns its exit status: None or 0 when what it
checked holds, 1 when it does not. Errors are rendered here, once: exit status 2 where the request was wrong, else 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from nankeen import __version__
from nankeen.cli.output import print_error, wants_json
from nankeen.model.errors import InputError, NankeenError

COMMANDS = {
    "demo": ("nankeen.cli.demo:demo", "Three nodes, six pods, one packet's way: built, proven, explained, removed."),
    "lab": ("nankeen.cli.lab:lab", "Whole clusters on this machine, in network namespaces."),
    "walk": ("nankeen.cli.walk:walk", "One packet's way: predicted, told step by step, proven by a probe."),
    "verify": ("nankeen.cli.verify:verify", "Prove the pod network model of a lab with real packets."),
    "capture": ("nankeen.cli.capture:capture", "Packets at nodes, pods and devices, read layer by layer."),
    "leases": ("nankeen.cli.leases:leases", "Who holds which subnet: list, watch, reserve, release."),
    "config": ("nankeen.cli.config:config", "The network configuration: get, set, check."),
    "agent": ("nankeen.cli.agent:agent", "The daemon of one node."),
    "flanneld": ("nankeen.cli.flanneld:flanneld", "The same, started as flannel's is."),
    "docker-opts": ("nankeen.cli.docker_opts:docker_opts", "What Docker's daemon is told, from the node's subnet."),
    "cleanup": ("nankeen.cli.cleanup:cleanup", "Remove all that nankeen or flannel left on this node."),
}
"""Each command: where it is, and its line in `--help`."""

INTERRUPTED = 130
"""The exit status after SIGINT, as a shell reports it: 128 + 2."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is no command")
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(context)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def nankeen() -> None:
    """A Kubernetes pod network that can show, predict and prove each step of a packet's way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    return execute(nankeen, sys.argv[1:] if arguments is None else list(arguments), "nankeen")


def execute(command: click.Command, words: Sequence[str], program: str, *, refused: int = 2) -> int:
    """Runs a command and returns its exit status, `refused` where a value is not allowed."""
    try:
        status = command.main(list(words), prog_name=program, standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        print_error(_in_our_words(error), as_json=wants_json(words))
        return error.exit_code
    except NankeenError as error:
        print_error(error, as_json=wants_json(words))
        return refused if isinstance(error, InputError) else 1
    return status if isinstance(status, int) else 0


def _in_our_words(error: click.ClickException) -> InputError:
    """What click found wrong with the request, with the command whose `--help` tells what is right."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    problem = error.format_message().rstrip(".")
    return InputError(problem, remedy=f"see `{context.command_path} --help`" if context else "")
