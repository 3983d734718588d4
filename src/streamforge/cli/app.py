"""The command line as a whole: every command under its name."""

from __future__ import annotations

from typing import Annotated

import typer

from streamforge.cli.command import Command, Group
from streamforge.cli.commands import backups, kafka, records, services, workflows
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


_load, _look, _run, _know = "Load", "Look", "Run", "Know"
app.command(cls=Command, rich_help_panel=_load)(workflows.load)
app.command(cls=Command, rich_help_panel=_load)(workflows.wait)
app.command(cls=Command, rich_help_panel=_load)(workflows.retry)
app.command(cls=Command, rich_help_panel=_load)(workflows.stop)
app.command(cls=Command, rich_help_panel=_load)(workflows.rm)
app.command(cls=Command, rich_help_panel=_look)(records.export)
app.command(cls=Command, rich_help_panel=_look)(records.coverage)
app.command(cls=Command, rich_help_panel=_look)(records.series)
app.command(cls=Command, rich_help_panel=_look)(records.symbols)
app.command(cls=Command, rich_help_panel=_look)(workflows.queues)
app.command(cls=Command, rich_help_panel=_look)(workflows.show)
app.command(cls=Command, rich_help_panel=_look)(workflows.events)
app.command(cls=Command, rich_help_panel=_look)(workflows.ping)
dlq = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Records that could not be stored.",
    context_settings={"help_option_names": _HELP},
)
dlq.command("list", cls=Command)(workflows.dlq_list)
dlq.command("replay", cls=Command)(workflows.dlq_replay)
app.add_typer(dlq, name="dlq", rich_help_panel=_look)
app.command(cls=Command, rich_help_panel=_run)(services.up)
app.command(cls=Command, rich_help_panel=_run)(services.doctor)
app.command(cls=Command, rich_help_panel=_run)(services.exchange)
app.command(cls=Command, rich_help_panel=_run)(backups.backup)
app.command(cls=Command, rich_help_panel=_run)(backups.restore)
on_kafka = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="A Kafka that no operator looks after.",
    context_settings={"help_option_names": _HELP},
)
on_kafka.command("apply", cls=Command)(kafka.apply)
app.add_typer(on_kafka, name="kafka", rich_help_panel=_run)
app.command(cls=Command, rich_help_panel=_know)(services.targets)
app.command(cls=Command, rich_help_panel=_know)(services.schemas)
