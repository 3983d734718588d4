"""A load of many symbols, and the commands `batch list|show|wait|stop|retry|rm`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.api_resources import posting
from streamforge.cli.batch_follower import BeginBatch, EndedBatch, description, followed_batch, numbers, waits_for
from streamforge.cli.batch_outcome import LoadedBatch, members_table, tell_batch, unproven
from streamforge.cli.client import path_part, to_json
from streamforge.cli.command_errors import CliError
from streamforge.cli.coverage_text import range_cell
from streamforge.cli.dry_run import forecast_many
from streamforge.cli.load_request import Request
from streamforge.cli.session import Mode, NothingThere, Session, Where, session
from streamforge.cli.symbol_words import is_many, words_of
from streamforge.manager.batches import answers as batch_answers

BatchId = Annotated[str, typer.Argument(metavar="BATCH_ID", help="A batch, as `batch list` shows it.")]
Members = Annotated[bool, typer.Option("--members", help="List every symbol.")]


async def load_many(
    words: str,
    type_name: str,
    time_range: str | None,
    where: Where,
    *,
    since: str | None = None,
    first: str | None = None,
    dry_run: bool = False,
    listed_at: str | None,
    again: bool,
    skip_unknown: bool,
    source: str | None,
    labels: dict[str, str],
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
) -> int:
    """Load a time range of many symbols, or what came since. words: names, patterns and files, separated by commas."""
    symbols = words_of(words)
    one = next((word for word in symbols if not is_many(word)), "BTCUSDT")
    Request(symbol=one, type=type_name, time_range=time_range, since=since, first=first).check()
    asked: dict[str, Any] = {"symbols": symbols, "type": type_name, "time_range": time_range, "since": since}
    asked |= {"from": first, "listed_at": listed_at, "again": again, "skip_unknown": skip_unknown, "source": source}
    # What was not named is left out, as an older manager knows none of it.
    body = {name: value for name, value in (asked | {"labels": labels}).items() if value not in (None, False, {})}
    if dry_run:
        return await forecast_many(where, body, as_json=as_json)
    start = posting("/batches", batch_answers.Batch, **body)
    return await _begun(start, where, detach=detach, timeout_s=timeout_s, as_json=as_json)


async def batch_list(
    where: o.AtManager,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=100_000, help="At most this many, the newest.")
    ] = 50,
    as_json: o.Json = False,
) -> int:
    """List batches, newest first."""
    try:
        async with session(where, Mode.READ) as found:
            raw, more = await found.api.pages("/batches", "batches", None, limit)
    except NothingThere as error:
        raw, more = [], False
        if not as_json:
            terminal.say(str(error))
            return 0
    if as_json:
        terminal.write(to_json({"batches": [msgspec.json.decode(item) for item in raw]}))
        return 0
    batches = [msgspec.json.decode(item, type=batch_answers.BatchSummary) for item in raw]
    if not batches:
        terminal.say("there are no batches")
        return 0
    terminal.table(
        ["batch_id", "status", "symbols", "proven", "failed", "stopped", "range", "asked for"],
        [
            [
                one.batch_id,
                terminal.styled(one.status, terminal.state(one.status, one.undriven)),
                terminal.number(one.size),
                terminal.number(one.counts.finished + one.counts.closed),
                terminal.number(one.counts.error),
                terminal.number(one.counts.interrupted),
                range_cell(one),
                f"{one.symbols} {one.type}",
            ]
            for one in batches
        ],
        right=("symbols", "proven", "failed", "stopped"),
    )
    if more:
        terminal.say(f"the newest {limit} are shown; see more with --limit")
    return 0


async def batch_show(batch_id: BatchId, where: o.AtManager, members: Members = False, as_json: o.Json = False) -> int:
    """Show a batch: what of it is proven, what is not and why."""
    path = f"/batches/{path_part(batch_id)}"
    listed: list[msgspec.Raw] = []
    async with session(where, Mode.READ) as found:
        answer = await found.api.call("GET", path)
        if members:
            listed, _ = await found.api.pages(f"{path}/members", "members")
    if as_json:
        told = msgspec.json.decode(answer)
        more = {"members": [msgspec.json.decode(item) for item in listed]} if members else {}
        terminal.write(to_json({**told, **more}))
        return 0
    batch = found.api.read(answer, batch_answers.Batch)
    terminal.write(description(batch))
    if not batch.ended:
        terminal.write(", ".join(part for part in (numbers(batch), waits_for(batch)) if part))
    tell_batch(batch)
    if members:
        members_table([msgspec.json.decode(item, type=batch_answers.BatchMember) for item in listed])
    return 0


async def batch_wait(
    batch_id: BatchId, where: o.AtManagerAndWorkers, timeout_s: o.Timeout = None, as_json: o.Json = False
) -> int:
    """Wait for the end of a batch that is under way, with the progress and the exit codes of `load`.

    Ctrl-C, or the end of the time, leaves it to the manager that drives it; one that only this command drives is
    stopped in order.
    """

    async def begin(found: Session) -> batch_answers.Batch:
        return await found.api.get(f"/batches/{path_part(batch_id)}", batch_answers.Batch)

    ended = await followed_batch(where.as_before(), begin, timeout_s=timeout_s, mode=Mode.CONTINUE, attached=True)
    return _told(ended, where.as_before(), as_json=as_json)


async def batch_stop(batch_id: BatchId, where: o.AtManager, detach: o.Detach = False, as_json: o.Json = False) -> int:
    """Stop a batch: no more of its workflows are made, those that it has made end in order. What is stored stays."""

    async def begin(found: Session) -> batch_answers.Batch:
        return await found.api.post(f"/batches/{path_part(batch_id)}/stop", batch_answers.Batch)

    if detach:
        async with session(where, Mode.SERVER) as found:
            batch = await begin(found)
    else:
        batch = (await followed_batch(where.as_before(), begin, mode=Mode.CONTINUE, loads=False)).batch
    if as_json:
        terminal.write(to_json({"batch_id": batch.batch_id, "status": batch.status}))
    else:
        terminal.write(f"{batch.batch_id} is {batch.status}")
    return 0


async def batch_retry(
    batch_id: BatchId,
    where: o.AtManagerAndExchange,
    detach: o.Detach = False,
    timeout_s: o.Timeout = None,
    as_json: o.Json = False,
) -> int:
    """Load what is missing of the symbols of a batch that failed, were interrupted or removed, and wait for the end."""

    async def begin(found: Session) -> batch_answers.Batch:
        return await found.api.post(f"/batches/{path_part(batch_id)}/retry", batch_answers.Batch)

    where, mode = where.as_before(), Mode.CONTINUE
    return await _begun(begin, where, detach=detach, timeout_s=timeout_s, as_json=as_json, mode=mode)


async def batch_rm(batch_id: BatchId, where: o.AtManager, yes: o.Yes = False, as_json: o.Json = False) -> int:
    """Forget an ended batch; its workflows and their records stay."""
    path = f"/batches/{path_part(batch_id)}"
    async with session(where, Mode.CHANGE) as found:
        batch = await found.api.get(path, batch_answers.Batch)
        if not batch.ended:
            raise CliError(
                f"{batch_id} is {terminal.state(batch.status, batch.undriven)}: only an ended batch can be removed, "
                f"stop it first with `streamforge batch stop {batch_id}{where.flags()}`"
            )
        if not yes:
            question = f"Remove {batch_id} (its workflows and records stay)?"
            o.confirm(question, "batch rm asks before it removes", "nothing was removed")
        await found.api.delete(path)
    if as_json:
        terminal.write(to_json({"removed": batch_id}))
    else:
        terminal.write(f"{batch_id} is removed; its workflows and their records stay")
    return 0


async def _begun(
    begin: BeginBatch,
    where: Where,
    *,
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
    mode: Mode = Mode.DRIVE,
) -> int:
    if not detach:
        ended = await followed_batch(where, begin, timeout_s=timeout_s, mode=mode)
        return _told(ended, where, as_json=as_json)
    async with session(where, Mode.SERVER, loads=True) as found:
        batch = await begin(found)
    if as_json:
        terminal.write(msgspec.json.encode(LoadedBatch.of(batch)).decode())
        return 0
    terminal.write(batch.batch_id)
    flags = where.flags()
    terminal.say(f"{description(batch)}; follow it with: streamforge batch wait {batch.batch_id}{flags}")
    return 0


def _told(ended: EndedBatch, where: Where, *, as_json: bool) -> int:
    """Report the outcome of a batch. Raises CliError (Interrupted after Ctrl-C) if not all of it is proven."""
    if as_json:
        terminal.write(msgspec.json.encode(LoadedBatch.of(ended.batch, ended.seconds)).decode())
    else:
        tell_batch(ended.batch, f" in {terminal.duration(ended.seconds)}")
    if ended.batch.status != "finished":
        raise unproven(ended, where)
    return 0
