"""How the arguments of a command are parsed, and shown in its help."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from streamforge.cli.command_errors import UsageProblem

_BACK = re.compile(r"-\d.*", re.ASCII)
"""A range that begins so long before now: `-30d`, `-30d:-1d`. No option begins with a digit."""


class Command(TyperCommand):
    """A command that takes `-30d` as an argument; its help has no types and braces."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        valued = self._valued()
        _refuse_empty(args, valued)
        return super().parse_args(ctx, _with_ranges_last(args, valued))

    def get_params(self, ctx: Any) -> list[Any]:
        return [_plain(parameter) for parameter in super().get_params(ctx)]

    def _valued(self) -> frozenset[str]:
        """The options that a value follows."""
        options = (one for one in self.params if isinstance(one, TyperOption) and not one.is_flag)
        return frozenset(name for option in options for name in option.opts)


class Group(TyperGroup):
    """A group of commands; its help has no types and braces."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_plain(parameter) for parameter in super().get_params(ctx)]


def usage_of(argument: Any) -> str:
    """An argument as the usage line names it: SYMBOL, or [SYMBOL] where it may be left out."""
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _refuse_empty(args: Sequence[str], valued: frozenset[str]) -> None:
    """Raises UsageProblem for an option without a value: mostly a variable of a shell that is not set."""
    for index, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name in valued and (not value if equals else args[index + 1 : index + 2] == [""]):
            raise UsageProblem(f"{name} is empty: give it a value, or leave it out")


def _with_ranges_last(args: Sequence[str], valued: frozenset[str]) -> list[str]:
    """`args` with the ranges that look like options at the end, where every word is an argument.

    valued: options whose next word is their value, also if it looks like an option.
    """
    if "--" in args:
        return list(args)
    ranges = [
        index
        for index, word in enumerate(args)
        if _BACK.fullmatch(word) and (index == 0 or args[index - 1] not in valued)
    ]
    if not ranges:
        return list(args)
    return [*(word for index, word in enumerate(args) if index not in ranges), "--", *(args[index] for index in ranges)]


def _plain(parameter: Any) -> Any:
    """The parameter without the braces, types and parentheses that typer's help adds to names and defaults."""
    if isinstance(parameter, TyperArgument):
        parameter._usage_display_name = lambda: usage_of(parameter)  # type: ignore[method-assign]
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    elif isinstance(parameter, TyperOption):
        if parameter.is_flag:
            parameter.metavar = ""
        if isinstance(default := parameter.show_default, str):
            parameter._get_default_string = lambda **_: default  # type: ignore[method-assign]
    return parameter
