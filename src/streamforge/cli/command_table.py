"""The command line as a whole: every command under its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from streamforge.cli.command import Command, Group
from streamforge.cli.command_options import as_command
from streamforge.cli.commands.backup_commands import backup, restore
from streamforge.cli.commands.catalogue_commands import schemas, targets
from streamforge.cli.commands.control_commands import dlq_list, ping, rm, stop
from streamforge.cli.commands.coverage_command import coverage
from streamforge.cli.commands.doctor_command import doctor
from streamforge.cli.commands.export_command import export
from streamforge.cli.commands.foreground_commands import exchange, up
from streamforge.cli.commands.kafka_command import apply
from streamforge.cli.commands.load_commands import dlq_replay, load, retry, wait
from streamforge.cli.commands.series_commands import series, symbols
from streamforge.cli.commands.workflow_commands import events, queues, show
from streamforge.version import installed_version

PROGRAM = "streamforge"
_HELP = ["-h", "--help"]

app = typer.Typer(
    name=PROGRAM,
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": _HELP},
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


def _group(name: str, panel: str, summary: str, commands: dict[str, Callable[..., Any]]) -> None:
    group = typer.Typer(cls=Group, no_args_is_help=True, help=summary, context_settings={"help_option_names": _HELP})
    for command, work in commands.items():
        group.command(command, cls=Command)(as_command(work))
    app.add_typer(group, name=name, rich_help_panel=panel)


def _commands(panel: str, *commands: Callable[..., Any]) -> None:
    for work in commands:
        app.command(work.__name__, cls=Command, rich_help_panel=panel)(as_command(work))


_commands("Load", load, wait, retry, stop, rm)
_commands("Look", export, coverage, series, symbols, queues, show, events, ping)
_group("dlq", "Look", "Records that could not be stored.", {"list": dlq_list, "replay": dlq_replay})
_commands("Run", up, doctor, exchange, backup, restore)
_group("kafka", "Run", "A Kafka that no operator looks after.", {"apply": apply})
_commands("Know", targets, schemas)
