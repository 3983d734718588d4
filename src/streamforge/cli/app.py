"""The command line as a whole: every command under its name."""

from __future__ import annotations

from typing import Annotated

import typer

from streamforge.cli.commands import backups, kafka, records, services, workflows
from streamforge.version import installed_version

PROGRAM = "streamforge"
_HELP = ["-h", "--help"]

app = typer.Typer(
    name=PROGRAM,
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
app.command(rich_help_panel=_load)(workflows.load)
app.command(rich_help_panel=_load)(workflows.retry)
app.command(rich_help_panel=_load)(workflows.stop)
app.command(rich_help_panel=_load)(workflows.rm)
app.command(rich_help_panel=_look)(records.export)
app.command(rich_help_panel=_look)(records.coverage)
app.command(rich_help_panel=_look)(workflows.queues)
app.command(rich_help_panel=_look)(workflows.show)
app.command(rich_help_panel=_look)(workflows.events)
app.command(rich_help_panel=_look)(workflows.ping)
dlq = typer.Typer(
    no_args_is_help=True, help="Records that could not be stored.", context_settings={"help_option_names": _HELP}
)
dlq.command("list")(workflows.dlq_list)
dlq.command("replay")(workflows.dlq_replay)
app.add_typer(dlq, name="dlq", rich_help_panel=_look)
app.command(rich_help_panel=_run)(services.up)
app.command(rich_help_panel=_run)(services.doctor)
app.command(rich_help_panel=_run)(services.exchange)
app.command(rich_help_panel=_run)(backups.backup)
app.command(rich_help_panel=_run)(backups.restore)
on_kafka = typer.Typer(
    no_args_is_help=True, help="A Kafka that no operator looks after.", context_settings={"help_option_names": _HELP}
)
on_kafka.command("apply")(kafka.apply)
app.add_typer(on_kafka, name="kafka", rich_help_panel=_run)
app.command(rich_help_panel=_know)(services.targets)
app.command(rich_help_panel=_know)(services.schemas)
