"""Flags as Go's package `flag` reads them, for commands that stand in for a program in Go.

`-x` is as good as `--x`; a value follows as `--x=v` or `--x v`. A boolean flag takes its value after `=` only: `--x` is
true, and so is `--x=true`. Here `--no-x` is another word for `--x=false`. A flag that is not on the command line is
taken from the environment, where an empty variable is as good as none.

Go ends its flags at the first word that is none, and a program that looks at no further words runs on without them:
`--ip-masq true --iface eth0` names no interface. Here such a word is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from nankeen.model.errors import InputError

_TRUE, _FALSE = {"1", "t", "T", "true", "TRUE", "True"}, {"0", "f", "F", "false", "FALSE", "False"}
"""The words of strconv.ParseBool."""
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,15}|0[oO]?[0-7]{1,20}|0[bB][01]{1,60}|[1-9][0-9]{0,17}|0)")
"""What strconv.ParseInt takes with base 0, without underscores and within 64 bits."""


class Boolean(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """True or false, in Go's words."""

    name = "bool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:  # noqa: ANN401
        if not isinstance(value, bool) and value not in _TRUE | _FALSE:
            self.fail(f"{value!r} is neither true nor false", param, ctx)
        return value if isinstance(value, bool) else value in _TRUE


class Number(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A whole number, in Go's notation: 10, 0x0a, 012, 0b1010."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        if isinstance(value, int):
            return value
        if not _NUMBER.fullmatch(value):
            self.fail(f"{value!r} is not a whole number", param, ctx)
        octal = re.fullmatch(r"([+-]?)0([0-7]+)", value)
        return int(f"{octal[1]}0o{octal[2]}" if octal else value, 0)


class Flag(click.Option):
    """One flag. `variables` are those of the environment that may give it; `section` is where `--help` shows it."""

    def __init__(self, name: str, *, variables: Sequence[str], section: str, **attributes: Any) -> None:  # noqa: ANN401
        attributes.setdefault("show_default", bool(attributes.get("default")))
        super().__init__([f"--{name}", name.replace("-", "_")], envvar=list(variables), **attributes)
        self.flag = name
        self.variables = variables
        self.section = section

    @property
    def is_boolean(self) -> bool:
        return isinstance(self.type, Boolean)

    def value_from_envvar(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """As it is: one that may be repeated takes one value from the environment."""
        value = self.resolve_envvar_value(ctx)
        return (value,) if self.multiple and value is not None else value

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            raise click.UsageError(f"{self.place(ctx)}: {error.message}", ctx) from error

    def place(self, ctx: click.Context) -> str:
        """Where the value came from: the flag, or the variable of the environment."""
        if ctx.get_parameter_source(self.name or "") is not ParameterSource.ENVIRONMENT:
            return f"--{self.flag}"
        return next(f"${variable}" for variable in self.variables if os.environ.get(variable))

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return (f"--{self.flag}[=BOOL]", record[1]) if record and self.is_boolean else record


class GoCommand(click.Command):
    """A command whose options are flags."""

    @property
    def flags(self) -> Mapping[str, Flag]:
        """By name, without dashes."""
        return {param.flag: param for param in self.params if isinstance(param, Flag)}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._plain(args, ctx)))

    def _plain(self, words: Sequence[str], ctx: click.Context) -> Iterator[str]:
        """The command line with each flag as one word, `--x=v`."""
        left = list(words)
        while left:
            word = left.pop(0)
            name, equals, value = re.sub("^--?", "", word).partition("=")
            if name in ctx.help_option_names or name in {"h", "help"}:
                yield "--help"
                continue
            if not re.fullmatch("--?[^-=].*", word, re.DOTALL):
                raise click.UsageError(f"{word!r} is no flag, and a boolean one takes its value after =", ctx)
            flag = self.flags.get(name) or self._negated(name)
            if flag is None:
                raise click.NoSuchOption(f"--{name}", possibilities=[f"--{known}" for known in self.flags], ctx=ctx)
            if flag.is_boolean:
                yield self._truth(flag, word, name, value if equals else "true", ctx)
            elif not equals and not left:
                raise click.UsageError(f"the flag --{name} needs a value", ctx)
            else:
                yield f"--{name}={value if equals else left.pop(0)}"

    def _negated(self, name: str) -> Flag | None:
        flag = self.flags.get(name.removeprefix("no-"))
        return flag if flag and flag.is_boolean else None

    @staticmethod
    def _truth(flag: Flag, word: str, name: str, value: str, ctx: click.Context) -> str:
        if name == flag.flag:
            return f"--{name}={value}"
        if "=" in word:
            raise click.UsageError(f"--{name} takes no value; write --{flag.flag}={value}", ctx)
        return f"--{flag.flag}=false"

    def blame(self, ctx: click.Context, error: InputError) -> InputError:
        """An error about the flag that its `where` names, about the variable that gave the value, where one did."""
        flag = self.flags.get(error.where.removeprefix("--"))
        return type(error)(error.problem, where=flag.place(ctx), remedy=error.remedy) if flag else error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                sections.setdefault(param.section if isinstance(param, Flag) else "Options", []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
