"""The commands `schedule …`: loads that begin by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import path_part, to_json
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.cli.symbol_words import words_of
from streamforge.manager.schedules import answers as schedule_answers
from streamforge.manager.workflow_labels import parsed_labels
from streamforge.manager.workflows.series.model import SourceChoice

if TYPE_CHECKING:
    from rich.text import Text

_RUNS_SHOWN = 20
_LOADS_SHOWN = 5

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `schedule list` names it.")]


async def schedule_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, `.`, `_` and `-`.")],
    symbols: Annotated[
        str,
        typer.Argument(
            metavar="SYMBOLS",
            help="One, or several: BTCUSDT,ETHUSDT; a pattern (`*USDT`), which each run reads again; @symbols.txt.",
        ),
    ],
    type_name: Annotated[
        str, typer.Argument(metavar="TYPE", help="What is loaded, e.g. api_candles_1m; gnn_score: SYMBOLS are models.")
    ],
    where: o.AtManager,
    cron: Annotated[
        str,
        typer.Option(
            "--cron",
            metavar="EXPRESSION",
            help="When: minute, hour, day, month and weekday, e.g. '5 0 * * *' for five past midnight.",
        ),
    ],
    timezone: Annotated[
        str, typer.Option("--timezone", metavar="ZONE", help="Of the expression, e.g. Europe/Moscow.")
    ] = "UTC",
    missed: Annotated[
        Literal["catch-up", "skip"],
        typer.Option(
            "--missed",
            metavar="catch-up|skip",
            help="What happens to fire times that pass while no manager runs, or while the previous run is not over.",
        ),
    ] = "catch-up",
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="last|START",
            help="Load until the fire time, from START (such as -1d) or, with `last`, from where the coverage ends.",
            show_default="last",
        ),
    ] = None,
    time_range: Annotated[
        str | None,
        typer.Option("--range", metavar="TIME_RANGE", help="Load this instead, e.g. yesterday or -2d:-1d, in UTC."),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="START", help="Where --since last begins if nothing of a series is known."),
    ] = None,
    source: o.SourceOf = None,
    labels: o.LabelsOf = None,
    as_json: o.Json = False,
) -> int:
    """Load some symbols again and again, at the times that a cron expression names.

    Each fire time makes one run, also when processes are killed meanwhile, and each run a workflow for every symbol.
    `streamforge up` or queue-manager fires schedules; a command that runs its own manager for a load does not.
    A time that is left out when clocks go forward fires right after it; one that comes twice fires once, unless minute
    or hour begin with `*`.
    """
    given = _fields(
        name=name,
        symbols=words_of(symbols),
        type=type_name,
        cron=cron,
        timezone=timezone,
        missed=missed,
        since=since,
        time_range=time_range,
        first=first,
        source=source,
        labels=dict(parsed_labels(labels)) if labels else None,
    )
    async with session(where.as_before(), Mode.SCHEDULE) as found:
        added = await found.api.post("/schedules", schedule_answers.Schedule, body=given)
        return _told(found, added, "", where, as_json=as_json)


async def schedule_change(
    name: Name,
    where: o.AtManager,
    symbols: Annotated[
        str | None, typer.Option("--symbols", metavar="SYMBOLS", help="Instead of all that it has.")
    ] = None,
    type_name: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="What is loaded.")] = None,
    cron: Annotated[str | None, typer.Option("--cron", metavar="EXPRESSION", help="When.")] = None,
    timezone: Annotated[str | None, typer.Option("--timezone", metavar="ZONE", help="Of the expression.")] = None,
    missed: Annotated[
        Literal["catch-up", "skip"] | None,
        typer.Option("--missed", metavar="catch-up|skip", help="What happens to fire times that pass without a run."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="last|START", help="Instead of the range and of --from.")
    ] = None,
    time_range: Annotated[
        str | None, typer.Option("--range", metavar="TIME_RANGE", help="Instead of --since and --from.")
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="START", help="Where --since last begins if nothing of a series is known."),
    ] = None,
    source: o.SourceOf = None,
    as_json: o.Json = False,
) -> int:
    """Change what is named of a schedule, as `schedule add` takes it; the rest stays, and so do its runs.

    A current run continues unchanged. New times apply from now on.
    """
    changes = _fields(
        symbols=None if symbols is None else words_of(symbols),
        type=type_name,
        cron=cron,
        timezone=timezone,
        missed=missed,
        since=since,
        time_range=time_range,
        first=first,
        source=source,
    )
    if not changes:
        raise UsageProblem("nothing is to be changed: name it, e.g. --cron '5 0 * * *' (see --help)")
    mode = Mode.CHANGE if symbols is None else Mode.SCHEDULE
    return await _changed(name, changes, "is changed", where, as_json=as_json, mode=mode)


def _fields(*, first: str | None, **fields: Any) -> dict[str, Any]:
    """The fields of a request that are given. Raises UsageProblem for two ranges."""
    if fields["since"] is not None and fields["time_range"] is not None:
        raise UsageProblem("--since and --range are two ranges: give one of them")
    return {field: value for field, value in {**fields, "from": first}.items() if value is not None}


async def schedule_list(where: o.AtManager, as_json: o.Json = False) -> int:
    """List the schedules: when each fires next, and how its latest run ended."""
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", "/schedules")
        listed = found.api.read(answer, schedule_answers.Schedules)
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
        return 0
    if not listed.schedules and not listed.unreadable:
        terminal.say("there is no schedule: `streamforge schedule add --help` tells how to add one")
        return 0
    rows: list[list[str | Text]] = [
        [
            one.name,
            terminal.first_of(one.symbols),
            one.type,
            f"{one.cron} {one.timezone}",
            "paused" if one.paused else terminal.moment(one.next_at),
            "" if one.latest is None else terminal.moment(one.latest.fire_at),
            terminal.styled(_state(one)),
        ]
        for one in listed.schedules
    ]
    terminal.table(["schedule", "symbols", "type", "cron", "next", "latest", "state"], rows)
    for one in listed.schedules:
        if one.overdue:
            terminal.say(f"{one.name}: {one.overdue}")
    for name, reason in listed.unreadable.items():
        terminal.say(f"{name}: {reason}")
    if undriven := next((one.undriven for one in listed.schedules if one.undriven), None):
        terminal.say(f"nothing fires them: {undriven}; `streamforge up{where.starting()}` does")
    return 0


def _state(found: schedule_answers.Schedule) -> str:
    if found.current is not None:
        return found.current.state
    return "waiting" if found.latest is None else found.latest.state


async def schedule_show(name: Name, where: o.AtManager, as_json: o.Json = False) -> int:
    """Show a schedule and its latest runs."""
    path = f"/schedules/{path_part(name)}"
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", path)
        listed = await found.api.call("GET", f"{path}/runs")
    if as_json:
        shown = {**msgspec.json.decode(answer), "runs": msgspec.json.decode(listed)["runs"]}
        terminal.write(to_json(shown))
        return 0
    one = found.api.read(answer, schedule_answers.Schedule)
    runs = found.api.read(listed, schedule_answers.ScheduleRuns).runs
    what = f"since {one.since}" if one.since else str(one.time_range)
    start = f", of a new series from {one.start}" if one.start else ""
    out = terminal.console()
    source = f", source {one.source}" if one.source != SourceChoice.AUTO else ""
    out.print(f"{one.name}: {', '.join(one.symbols)} {one.type}, {what}{start}{source}")
    out.print(f"  at {one.cron} ({one.timezone}); missed times: {one.missed}")
    out.print("  paused" if one.paused else f"  next {terminal.moment(one.next_at)} (UTC)")
    for told in (one.overdue, one.waiting_for, one.undriven and f"nothing fires it: {one.undriven}"):
        if told:
            out.print(f"  {told}")
    if one.current is not None:  # asked for apart: a run that has just ended may be among the others, too
        runs = [run for run in runs if run.number != one.current.number]
    shown_runs = [*([] if one.current is None else [one.current]), *runs[:_RUNS_SHOWN]]
    rows: list[list[str | Text]] = [
        [str(run.number), terminal.moment(run.fire_at), terminal.styled(run.state), _times(run), _about(run)]
        for run in shown_runs
    ]
    if rows:
        terminal.table(["run", "fire time (UTC)", "state", "times", "outcome"], rows)
    if len(runs) > _RUNS_SHOWN:
        terminal.say(f"and {len(runs) - _RUNS_SHOWN} older runs: --json shows them")
    return 0


def _times(run: schedule_answers.ScheduleRun) -> str:
    return "by hand" if run.by_hand else f"{run.times}{'+' if run.at_least else ''}"


def _about(run: schedule_answers.ScheduleRun) -> str:
    loads = [
        f"{one.symbol} {one.queue_id or one.status}{' (joined)' if one.joined else ''}"
        for one in run.loads[:_LOADS_SHOWN]
    ]
    others = len(run.loads) + run.left_out - len(loads)
    more = f"{others} more symbols" if others else ""
    return "; ".join(part for part in (run.reason, run.late, ", ".join(loads), more) if part)


async def schedule_pause(name: Name, where: o.AtManager, as_json: o.Json = False) -> int:
    """Let a schedule not fire until it is resumed."""
    return await _changed(name, {"paused": True}, "is paused", where, as_json=as_json)


async def schedule_resume(name: Name, where: o.AtManager, as_json: o.Json = False) -> int:
    """Let a paused schedule fire again from now on; what it would have done meanwhile is not made up for."""
    return await _changed(name, {"paused": False}, "", where, as_json=as_json)


async def _changed(
    name: str, changes: dict[str, Any], done: str, where: Where, *, as_json: bool, mode: Mode = Mode.CHANGE
) -> int:
    async with session(where.as_before(), mode) as found:
        answer = await found.api.call("PATCH", f"/schedules/{path_part(name)}", body=changes)
        changed = found.api.read(answer, schedule_answers.Schedule)
        return _told(found, changed, done, where, as_json=as_json)


def _told(found: Session, changed: schedule_answers.Schedule, done: str, where: Where, *, as_json: bool) -> int:
    """Say what was done, and when the schedule fires next."""
    if changed.doubt:
        terminal.say(f"careful: {changed.doubt}")
    if as_json:
        terminal.write(to_json(changed))
        return 0
    when = "" if changed.paused else f"fires next at {terminal.moment(changed.next_at)} (UTC)"
    terminal.write(f"{changed.name} {' and '.join(part for part in (done, when) if part)}")
    if found.own and not changed.paused:
        terminal.say(f"no manager runs here: `streamforge up{where.starting()}` fires it")
    return 0


async def schedule_rm(name: Name, where: o.AtManager, yes: o.Yes = False, as_json: o.Json = False) -> int:
    """Forget a schedule and the history of its runs; its workflows go on, and what they have loaded stays."""
    path = f"/schedules/{path_part(name)}"
    async with session(where, Mode.CHANGE) as found:
        await found.api.get(path, schedule_answers.Schedule)
        if not yes:
            question = f"Remove {name} and the history of its runs (workflows and records stay)?"
            o.confirm(question, "schedule rm asks before it removes", "nothing was removed")
        await found.api.delete(path)
    if as_json:
        terminal.write(to_json({"removed": name}))
    else:
        terminal.write(f"{name} is removed; its workflows and their records stay")
    return 0


async def schedule_run(name: Name, where: o.AtManager, as_json: o.Json = False) -> int:
    """Start a run of a schedule now. Needs a manager that runs."""
    async with session(where, Mode.SERVER) as found:
        begun = await found.api.post(f"/schedules/{path_part(name)}/run", schedule_answers.Schedule)
    if as_json:
        terminal.write(to_json(begun))
        return 0
    number = "" if begun.current is None else f" {begun.current.number}"
    terminal.write(f"run{number} of {name} has begun")
    terminal.say(f"follow it with `streamforge schedule show {name}{where.flags()}`")
    return 0
