"""The command line as a whole: every command under its name, imported where it is called."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from streamforge.cli.command_errors import UsageProblem
from streamforge.version import installed_version

PROGRAM = "streamforge"
_HELP = {"help_option_names": ["-h", "--help"]}
_BACK = re.compile(r"-\d.*", re.ASCII)
"""A range that begins so long before now: `-30d`, `-30d:-1d`. No option begins with a digit."""


class Command(TyperCommand):
    """A command that takes `-30d` as an argument; its help has no types and braces."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = (one for one in self.params if isinstance(one, TyperOption) and not one.is_flag)
        valued = frozenset(name for option in options for name in option.opts)
        _refuse_empty(args, valued)
        return super().parse_args(ctx, _with_ranges_last(args, valued))

    def get_params(self, ctx: Any) -> list[Any]:
        return [_plain(parameter) for parameter in super().get_params(ctx)]


class Entry(TyperCommand):
    """A command that is not imported yet: a function `work` of a module of `commands`."""

    def __init__(self, name: str, module: str, work: str, panel: str | None = None) -> None:
        super().__init__(name=name, rich_help_panel=panel)
        self._module, self._work = module, work

    def describe(self) -> None:
        """Take the help from the source of the function."""
        source = files("streamforge.cli.commands").joinpath(f"{self._module}.py").read_text("utf-8")
        functions = (one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
        self.help = next(ast.get_docstring(one) for one in functions if one.name == self._work)

    def imported(self) -> TyperCommand:
        """The command itself."""
        from streamforge.cli.command_options import as_command

        work = getattr(import_module(f"streamforge.cli.commands.{self._module}"), self._work)
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(self.name, cls=Command)(as_command(work))
        command: TyperCommand = typer.main.get_command(alone)  # type: ignore[assignment]
        return command


class Group(TyperGroup):
    """A group of commands; its help has no types and braces."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_plain(parameter) for parameter in super().get_params(ctx)]

    def list_commands(self, ctx: Any) -> list[str]:
        for command in self.commands.values():
            if isinstance(command, Entry):
                command.describe()
        return super().list_commands(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.imported() if isinstance(command, Entry) else command, rest

    def imported(self) -> dict[str, Any]:
        """All commands and groups by name, each with its options."""
        return {name: one.imported() if isinstance(one, Entry) else one for name, one in self.commands.items()}


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


def usage_of(argument: Any) -> str:
    """An argument as the usage line names it: SYMBOL, or [SYMBOL] where it may be left out."""
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


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


app = typer.Typer(
    name=PROGRAM,
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=_HELP,
    epilog="Begin with: streamforge load BTCUSDT api_candles_1m 2024-08-01",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"{PROGRAM} {installed_version()}")
        raise typer.Exit


@app.callback()
def _streamforge(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """Load crypto market data, and know that it is complete."""


def _group(name: str, panel: str, summary: str, *commands: Entry) -> Group:
    return Group(
        name=name,
        help=summary,
        rich_help_panel=panel,
        context_settings=_HELP,
        no_args_is_help=True,
        commands=commands,
    )


root: Group = typer.main.get_command(app)  # type: ignore[assignment]
for _panel, _module, _names in (
    ("Load", "load_commands", "load wait retry"),
    ("Load", "control_commands", "stop rm"),
    ("Look", "export_command", "export"),
    ("Look", "coverage_command", "coverage"),
    ("Look", "series_commands", "series symbols"),
    ("Look", "workflow_commands", "queues show events"),
    ("Look", "control_commands", "ping"),
    ("Run", "foreground_commands", "up exchange"),
    ("Run", "doctor_command", "doctor"),
    ("Run", "backup_commands", "backup restore"),
    ("Know", "catalogue_commands", "targets schemas"),
):
    for _name in _names.split():
        root.add_command(Entry(_name, _module, _name, _panel))
_dlq = Entry("list", "control_commands", "dlq_list"), Entry("replay", "load_commands", "dlq_replay")
root.add_command(_group("dlq", "Look", "Records that could not be stored.", *_dlq))
_apply = Entry("apply", "kafka_command", "apply")
root.add_command(_group("kafka", "Run", "A Kafka that no operator looks after.", _apply))
