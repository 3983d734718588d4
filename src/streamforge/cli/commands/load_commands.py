"""The commands `load`, `wait`, `retry` and `dlq replay`: a workflow to its end, and what it came to."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.client import PAGE, SINCE_START, Query, path_part
from streamforge.cli.command_errors import ApiProblem, CliError, UsageProblem
from streamforge.cli.coverage_text import (
    advice,
    left_out_span,
    load_command,
    load_of_the_rest,
    no_longer,
    since_lines,
)
from streamforge.cli.dry_run import forecast
from streamforge.cli.follower import Begin, followed
from streamforge.cli.load_request import Request
from streamforge.cli.news_check import NothingNew
from streamforge.cli.outcome import Loaded, tell, unfinished
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.cli.symbol_words import is_many
from streamforge.manager import answers
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.workflow_labels import parsed_labels
from streamforge_utils.model.timeranges import SINCE_LAST

_MOST_RESTS = 3
"""How often what a joined workflow left out may be left to another one that is joined, and leaves out a part again."""


async def load(
    symbol: Annotated[
        str,
        typer.Argument(
            metavar="SYMBOL",
            help="As the exchange spells it, e.g. BTCUSDT. Many at once: BTCUSDT,ETHUSDT, a pattern ('*USDT') or "
            "@symbols.txt: a file with a symbol or pattern a line; what follows a # is a comment.",
        ),
    ],
    type_name: Annotated[
        str, typer.Argument(metavar="TYPE", help="What is loaded, e.g. api_candles_1m; any interval of the exchange.")
    ],
    time_range: Annotated[
        str | None,
        typer.Argument(
            metavar="TIME_RANGE",
            help="START[:END], half-open, UTC: 2024, 2024-08, 2024-08-01 or 2024-08-01T12:30Z; "
            "START alone is that year, month or day, `2024:` is until now. Also today, yesterday, and -30d "
            "(the last 30 days; s m h d w M y). Left out with --since, and of a live type (ws_…), which goes on from "
            "now until it is stopped.",
        ),
    ] = None,
    *,
    where: o.AtManagerOrNew,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="last|START",
            help="Until now, from START or, with `last`, from where the coverage of the series ends; holes before that "
            "are loaded again.",
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="START", help="Where --since last begins if nothing of the series is known."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Load also what coverage says is stored.")] = False,
    listed_at: Annotated[
        str | None,
        typer.Option(
            "--listed-at",
            metavar="DAY",
            help="Of many symbols: those that were listed on that day, also where they are delisted by now.",
        ),
    ] = None,
    skip_unknown: Annotated[
        bool,
        typer.Option("--skip-unknown", help="Of many symbols: leave out, and name, those that the exchange has not."),
    ] = False,
    source: o.SourceOf = None,
    labels: o.LabelsOf = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Start nothing: print the parts with their sources, the requests, the download, the time and the "
            "room that it takes.",
        ),
    ] = False,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Load a time range of a symbol, and wait until it is stored and proven complete.

    It uses the manager at --server, or the one that runs on the data directory, or its own for as long as it takes.
    Only what coverage lacks is loaded. Ctrl-C stops the workflow in order; a second one leaves at once (exit code 130).
    A workflow that was under way already, which the load then joins, Ctrl-C leaves to the manager that drives it.

    A live type (ws_trades, ws_candles_1m, …) goes on until Ctrl-C, which is its normal end; --since loads what is older
    beside it.

    Many symbols are one batch, which ends with one table: what is proven, what is not and why. A pattern takes in what
    the exchange trades no longer, and candles of what its archive alone has: the number of delisted ones is shown.

    Exit code 0 means: all of it is stored, and every hole has a reason that is the exchange's.
    --json ends with one object: queue_id, status, records_expected and records_stored (of the whole range),
    records_there (those of them that were stored before), coverage, seconds.
    """
    how: dict[str, Any]
    if is_many(symbol):
        from streamforge.cli.commands.batch_commands import load_many

        how = {"again": again, "detach": detach, "timeout_s": timeout_s, "as_json": as_json}
        how |= {"since": since, "first": first, "listed_at": listed_at, "source": source, "dry_run": dry_run}
        how |= {"skip_unknown": skip_unknown, "labels": dict(parsed_labels(labels or ()))}
        return await load_many(symbol, type_name, time_range, where, **how)
    if listed_at is not None or skip_unknown:
        option = "--skip-unknown" if listed_at is None else "--listed-at"
        raise UsageProblem(f"{option} is for many symbols, such as '*USDT'")
    request = Request(
        symbol=symbol,
        type=type_name,
        time_range=time_range,
        since=since,
        first=first,
        again=again,
        source=source or msgspec.UNSET,
        labels=dict(parsed_labels(labels or ())),
    )
    request.check()

    async def begin(found: Session) -> answers.Started:
        accepted = await request.start(found)
        for line in since_lines(accepted, where):
            terminal.say(line)
        return accepted

    try:
        if dry_run:
            return await forecast(where, request, as_json=as_json)
        if detach:
            return await detached(where, begin, again=again, as_json=as_json)
        how = {"again": again, "source": request.source, "labels": request.labels}
        return await to_the_end(where, begin, timeout_s=timeout_s, as_json=as_json, **how)
    except NothingNew as nothing:
        return nothing.tell(where, as_json=as_json)
    except ApiProblem as error:
        if SINCE_START not in str(error):
            raise
        as_in = load_command((request.symbol, request.type, f"{SINCE_LAST} --from 2024-08-01"), where)
        raise UsageProblem(f"{error}, as in {as_in}") from error


async def wait(
    queue_id: o.QueueId,
    where: o.AtManagerAndWorkers,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="Wait no longer: the workflow is left to its manager, or stopped in order if that is this command.",
        ),
    ] = None,
    as_json: o.Json = False,
) -> int:
    """Wait for the end of a workflow that is under way, with the progress and the exit codes of `load`.

    Where no manager drives it, this command does so with its own. Ctrl-C, or the end of the time, leaves the workflow
    to the manager that drives it; one that only this command drives is stopped in order, as by `load`.
    """

    async def begin(found: Session) -> answers.Started:
        return await found.api.get(f"/queues/{path_part(queue_id)}", answers.Started)

    where = where.as_before()
    return await to_the_end(where, begin, timeout_s=timeout_s, as_json=as_json, mode=Mode.CONTINUE, attached=True)


async def retry(
    queue_id: o.QueueId,
    where: o.AtManagerAndExchange,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Start an interrupted or failed workflow again for what is still missing, and wait for its end as `load` does."""
    return await _again(queue_id, "retry", where, detach=detach, timeout_s=timeout_s, as_json=as_json)


async def dlq_replay(
    queue_id: o.QueueId,
    where: o.AtManagerAndExchange,
    offsets: Annotated[
        list[int] | None,
        typer.Option("--offset", metavar="N", min=0, help="Those with this offset alone, as listed (repeatable)."),
    ] = None,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Let a worker read the dead letters of an ended workflow again, when their cause is gone."""

    async def chosen(found: Session) -> object:
        return None if offsets is None else {"letters": await _letters(found, queue_id, frozenset(offsets))}

    return await _again(
        queue_id, "dlq/replay", where, detach=detach, timeout_s=timeout_s, as_json=as_json, body_of=chosen
    )


async def _letters(found: Session, queue_id: str, offsets: frozenset[int]) -> list[dict[str, object]]:
    """The places of the dead letters with these offsets. Raises UsageProblem for an offset that none has."""
    path = f"/queues/{path_part(queue_id)}/dlq"
    query: Query = {"limit": PAGE, "value_bytes": 0}
    places = list[dict[str, object]]()
    while True:
        page = await found.api.get(path, data_answers.DeadLetters, query)
        for one in page.dead_letters:
            if one.offset in offsets:
                places.append({"topic": one.topic, "partition": one.partition, "offset": one.offset})
        if page.after is None:
            break
        query = {**query, "after": page.after}
    if lacking := sorted(offsets.difference(one["offset"] for one in places)):
        raise UsageProblem(
            f"{queue_id} has no dead letter with offset {', '.join(map(str, lacking[:5]))}: `streamforge dlq list "
            f"{queue_id}` lists those that wait"
        )
    return places


async def _nothing(_: Session) -> object:
    return None


async def _again(
    queue_id: str,
    action: str,
    where: Where,
    *,
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
    body_of: Callable[[Session], Awaitable[object]] = _nothing,
) -> int:
    async def begin(found: Session) -> answers.Started:
        body = await body_of(found)
        return await found.api.post(f"/queues/{path_part(queue_id)}/{action}", answers.Started, body=body)

    where = where.as_before()
    if detach:
        return await detached(where, begin, as_json=as_json)
    return await to_the_end(where, begin, timeout_s=timeout_s, as_json=as_json, mode=Mode.CONTINUE)


async def detached(where: Where, begin: Begin, *, again: bool = False, as_json: bool, loads: bool = True) -> int:
    async with session(where, Mode.SERVER, loads=loads) as found:
        workflow = await begin(found)
    if (rest := advice(workflow, where, again=again)) is not None:
        terminal.say(rest)
    if as_json:
        terminal.write(msgspec.json.encode(Loaded.of(workflow)).decode())
    else:
        terminal.write(workflow.queue_id)
        terminal.say(
            f"{workflow.queue_id} is {workflow.status}{' already' if workflow.joined else ''}; follow it with: "
            f"streamforge events {workflow.queue_id} --follow{where.flags()}"
        )
    return 0


async def to_the_end(
    where: Where,
    begin: Begin,
    *,
    timeout_s: float | None,
    as_json: bool,
    again: bool = False,
    source: str | msgspec.UnsetType = msgspec.UNSET,
    labels: dict[str, str] | None = None,
    **how: Any,
) -> int:
    """Begin a workflow and follow it to its end; reports the outcome and returns the exit code.

    What a joined workflow leaves out is loaded afterwards by another one, whose end is then reported.
    again, how: as `Follower` takes them. Raises CliError (Interrupted after Ctrl-C) if that is not
    `finished`.
    """
    began = time.monotonic()
    ended = await followed(where, begin, timeout_s=timeout_s, again=again, **how)
    for _ in range(_MOST_RESTS):
        left_s = None if timeout_s is None else timeout_s - (time.monotonic() - began)
        one = ended.workflow
        if ended.rest is None or (left_s is not None and left_s <= 0):
            break
        terminal.say(f"{one.queue_id} has finished; what it left out, {left_out_span(one)}, is loaded now")
        rest = Request(symbol=one.symbol, type=one.type, time_range=ended.rest, again=again, source=source)
        rest = msgspec.structs.replace(rest, labels=labels or {})
        ended = await followed(where, rest.start, timeout_s=left_s, again=again)
        ended = msgspec.structs.replace(
            ended, loaded=msgspec.structs.replace(ended.loaded, seconds=round(time.monotonic() - began, 3))
        )
    if as_json:
        terminal.write(msgspec.json.encode(ended.loaded).decode())
    else:
        tell(ended, where)
    workflow = ended.workflow
    if workflow.status != "finished":
        raise unfinished(ended, where)
    if ended.gone:
        raise CliError(f"{workflow.queue_id}: {no_longer(workflow, where)}")
    if (load := load_of_the_rest(workflow, where, again=again)) is not None:
        without = f"{workflow.queue_id} has finished, without {left_out_span(workflow)}: {load} loads that"
        raise CliError(without, ended.interrupted)
    return 0


async def driven(
    where: Where,
    start: Callable[[Session], Awaitable[answers.Started]],
    *,
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
    loads: bool,
) -> int:
    """Start a workflow, and go along with it to its end unless `detach`; the exit code."""
    if detach:
        return await detached(where, start, as_json=as_json, loads=loads)
    return await to_the_end(where, start, timeout_s=timeout_s, as_json=as_json, loads=loads)
