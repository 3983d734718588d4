"""The command `streamforge`: its commands, each imported where it is called, and the exit code of each error."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.resources import files
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from streamforge.cli import terminal
from streamforge.cli.command_errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_PIPE,
    EXIT_USAGE,
    PipeClosed,
    UsageProblem,
    exit_code,
)
from streamforge.version import installed_version
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.plugins import load_plugins

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
    name=terminal.PROGRAM,
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=_HELP,
    epilog="Begin with: streamforge load BTCUSDT api_candles_1m 2024-08-01",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"{terminal.PROGRAM} {installed_version()}")
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
    ("Load", "store_command", "store"),
    ("Load", "control_commands", "stop handover rm"),
    ("Look", "export_command", "export"),
    ("Look", "compare_command", "compare"),
    ("Look", "series_commands", "coverage"),
    ("Look", "series_commands", "series symbols"),
    ("Look", "book_command", "book"),
    ("Look", "workflow_commands", "queues show events"),
    ("Look", "log_command", "logs"),
    ("Look", "topic_command", "topics"),
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
_batch = (Entry(name, "batch_commands", f"batch_{name}") for name in ("list", "show", "wait", "stop", "retry", "rm"))
root.add_command(_group("batch", "Load", "Loads of many symbols.", *_batch))
_schedule = (
    Entry(name, "schedule_commands", f"schedule_{name}")
    for name in ["add", "change", "list", "show", "pause", "resume", "rm", "run"]
)
root.add_command(_group("schedule", "Load", "Loads that begin by themselves, at times that you choose.", *_schedule))
_graph = (
    Entry(name, "graph_commands", f"graph_{name}")
    for name in ["build", "list", "show", "metrics", "edges", "export", "rm"]
)
root.add_command(_group("graph", "Study", "Graphs of the coins that move together.", *_graph))
_models = (
    Entry(name, "model_commands", f"models_{name}")
    for name in ["train", "list", "show", "card", "export", "score", "rm"]
)
root.add_command(_group("models", "Study", "Models on graphs of coins, compared with simpler ones.", *_models))
_apply = Entry("apply", "kafka_command", "apply")
root.add_command(_group("kafka", "Run", "A Kafka that no operator looks after.", _apply))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (or the process's) name; returns the exit code."""
    return run_program(root, terminal.PROGRAM, arguments)


def run_program(program: Callable[..., Any], name: str, arguments: Sequence[str] | None) -> int:
    """Run the command of `program` that `arguments` (or the process's) name; returns the exit code.

    A command that fails says why on stderr; one of `streamforge` with `--json`, where it printed nothing, also as one
    object on stdout.
    """
    terminal.debugging(False)
    terminal.wrote(nothing_yet=True)
    given = sys.argv[1:] if arguments is None else list(arguments)
    fail = partial(_failed, as_json=program is root and "--json" in given, command=name)
    try:
        load_plugins(os.environ)
        code = program(args=given, prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        return _usage(error, given, fail)
    except typer.Abort:
        return fail("nothing was done", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        # Nothing more can be written, not even by the interpreter on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_PIPE
    except StreamForgeError as error:
        if terminal.debugging():
            traceback.print_exc()
        return fail(str(error), exit_code(error))
    except Exception as error:  # of any class: the user gets a message
        if terminal.debugging():
            traceback.print_exc()
        return fail(f"unexpected {type(error).__name__}: {error}; run it again with --debug to see where", EXIT_FAILED)


def _usage(error: typer.TyperException, given: Sequence[str], fail: Callable[..., int]) -> int:
    from streamforge.cli.arguments import message_of  # it imports the kinds of records

    if type(error).__name__ == "NoArgsIsHelpError":
        # Who names no command wants to know which there are.
        if text := error.format_message():
            sys.stdout.write(text + "\n")
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    named = {} if context is None else {"command": context.command_path}
    program = named.get("command", terminal.PROGRAM)
    return fail(f"{message_of(error, given)} (see `{program} --help`)", error.exit_code, **named)


def _failed(message: str, code: int, *, as_json: bool, command: str) -> int:
    if message:
        print(f"{command}: {message}", file=sys.stderr)
    if as_json and not terminal.wrote():
        terminal.write(json.dumps({"status": "error", "error": message, "exit_code": code}, ensure_ascii=False))
    return code
