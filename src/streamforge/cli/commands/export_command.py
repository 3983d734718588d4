"""`export`: the records themselves, oldest first, each once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.arguments import check_count, check_words
from streamforge.cli.client import path_part, to_json
from streamforge.cli.command_errors import ApiProblem, CliError, UsageProblem
from streamforge.cli.commands.series_commands import HOLES_SHOWN, address_of, ask
from streamforge.cli.coverage_text import (
    NONE_OPENS,
    NOTHING_OVER,
    load_command,
    no_longer,
    request_of,
    rest,
    wait_command,
)
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.cli.writers import Destination, Format, RecordWriter, Times, destination, record_writer
from streamforge.manager import answers, data_answers
from streamforge_utils.model.coverage import COMPLETE
from streamforge_utils.model.names import is_queue_id
from streamforge_utils.model.spelling import closest
from streamforge_utils.model.timeranges import TimeRange

_COUNTING = re.compile(r"POST /coverage/([^/ ]+)/([^/ ]+)/verify")
"""How a manager says that a series is to be counted."""
_WHAT = "QUEUE_ID, COLLECTION, or SYMBOL TYPE [TIME_RANGE]"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be exported: a collection as it is, or what coverage has of a series. name: for messages."""

    name: str
    collection: str = ""
    known: data_answers.Coverage | None = None

    @property
    def span(self) -> data_answers.CoverageSpan | None:
        """What it speaks of; None: a collection as it is."""
        return None if self.known is None else self.known.span

    @property
    def stored(self) -> list[data_answers.Segment]:
        """The ranges of it that are stored."""
        return [] if self.known is None else [one for one in self.known.segments if one.verdict == "stored"]

    @property
    def holes(self) -> list[data_answers.Segment]:
        """The ranges of it that are not stored."""
        return [] if self.known is None else [one for one in self.known.segments if one.verdict != "stored"]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What `export --json` prints. complete: None for a collection, which was not asked for as a range."""

    rows: int
    file: str
    format: str
    complete: bool | None
    holes: list[data_answers.Segment]
    span: data_answers.CoverageSpan | None


async def export(
    what: Annotated[
        list[str], typer.Argument(metavar="QUEUE_ID | COLLECTION | SYMBOL TYPE [TIME_RANGE]", show_default=False)
    ],
    where: o.AtManager,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to a file, which appears when whole; its suffix names the format: .csv, .csv.gz, .jsonl, "
            ".jsonl.gz or .parquet. - is stdout.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="csv|jsonl|parquet",
            help="For stdout, and for a file whose suffix names no format; it must not contradict the suffix. "
            "parquet needs the extra `parquet`.",
            show_default="csv",
        ),
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="ms|iso|timestamp",
            help="How open_time and close_time are written: as unix milliseconds (ms, in CSV and JSON lines if nothing "
            "is said), as 2024-08-01T12:30:00.000Z (iso, not in Parquet), or as timestamps in UTC (timestamp, in "
            "Parquet if nothing is said).",
        ),
    ] = None,
    life: o.WholeLife = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --output: print a summary as JSON.")] = False,
) -> int:
    """Write stored records to a file or to stdout: oldest first, each once, whichever collections they lie in.

    A CSV has a header of the record's field names; numbers are the shortest text that reads back to the same double.
    How many records there were, and which ranges are missing, is said on stderr.
    """
    to = destination(form, file, times)
    if as_json and to.file is None:
        raise UsageProblem("--json tells about a file: name one with --output (the records themselves go to stdout)")
    check_count(what, _WHAT)
    if len(what) > 1:
        check_words(what)
    async with session(where, Mode.READ) as found:
        selection = await _select(found, what, where, life=life)
        if not selection.collection and not selection.stored:
            raise CliError(await _nothing(found, what, selection, where))
        with record_writer(to, selection.collection or "") as writer:
            for segment in [None] if selection.collection else selection.stored:
                await _copy(found, selection, segment, to, writer, where)
    complete = _is_complete(selection)
    _report(selection, writer, to, complete, where, as_json=as_json)
    return 1 if complete is False else 0


async def _select(found: Session, what: Sequence[str], where: Where, *, life: bool) -> Selection:
    if len(what) > 1 or is_queue_id(what[0]):
        path, query = address_of(what, life=life)
        known = found.api.read(await ask(found, path, query, what, where), data_answers.Coverage)
        return Selection(name=" ".join(what), known=known)
    if life:
        raise UsageProblem("--all speaks of the whole life of a series: write SYMBOL TYPE")
    name = what[0]
    names = [c.name for c in (await found.api.get("/collections", data_answers.Collections)).collections]
    if name not in names:
        there = f"there are {terminal.first_of(names)}" if names else "there are none yet"
        if meant := closest(name, names):
            there = f"did you mean {meant[0]}?"
        raise CliError(f"{name[:80]!r} is neither a queue_id nor a collection ({there}): write {_WHAT}")
    return Selection(name=name, collection=name)


async def _nothing(found: Session, what: Sequence[str], selection: Selection, where: Where) -> str:
    """Why there is nothing to export, and what to do."""
    nothing, known, holes = f"nothing of {selection.name} is stored", selection.known, selection.holes
    assert known is not None  # noqa: S101 - of a collection nothing is known, and nothing is asked
    if len(what) == 1:
        workflow = await found.api.get(f"/queues/{what[0]}", answers.Started)
        if not workflow.ended:
            state = terminal.state(workflow.status, workflow.undriven)
            return (
                f"{what[0]} has not ended ({state}), and nothing of its range is proven yet: wait for it with "
                f"{wait_command(what[0], where)}, then export it again"
            )
        if workflow.time_range.span is None:
            return f"{nothing}: {NOTHING_OVER}"
        if workflow.status == "finished" and not known.complete:
            return f"{nothing}: {no_longer(workflow, where)}"
        if workflow.status != "finished":
            retry = f"`streamforge retry {what[0]}{where.flags(exchange=True)}`"
            return f"{nothing}: it ended as {workflow.status}; go on with {retry}, then export it again"
    elif known.loading:
        one = known.loading[0]
        state = terminal.state(one.status, one.undriven)
        return (
            f"{nothing} yet: {one.queue_id} is to load it and has not ended ({state}); wait for it with "
            f"{wait_command(one.queue_id, where)}, then export it again"
        )
    if not holes:
        return f"{nothing}: {NONE_OPENS}"
    first = next((hole for hole in holes if hole.verdict not in COMPLETE), None)
    if first is None:
        none = "" if any(hole.verdict == "pending" for hole in holes) else "the exchange has none "
        return f"{nothing}: {none}({_hole(holes[0])})"
    load = f"load it with {load_command(what, where)}" if len(what) == 3 else rest(known, where)
    return f"{nothing}: {_hole(first)}; {load}"


def _recovery(series: str, where: Where) -> str:
    """What to do where the store holds less than was proven. series: SYMBOL TYPE."""
    return (
        f"count what is there with `streamforge coverage {series} --verify{where.flags()}`, which says how to load the "
        "rest"
    )


async def _copy(
    found: Session,
    selection: Selection,
    segment: data_answers.Segment | None,
    to: Destination,
    writer: RecordWriter,
    where: Where,
) -> None:
    """Write the records of a stored range; without one, of the whole collection.

    Raises CliError, also where fewer records come than were proven.
    """
    known, collection, series = selection.known, selection.collection, ""
    query: dict[str, str | int | list[str]] = {"format": to.form.asked_for, "limit": "all"}
    if to.times is Times.ISO:
        query["time"] = "iso"
    if segment is not None and known is not None:
        collection = segment.collection or ""
        query["time_range"] = request_of(TimeRange(segment.start_ms, segment.end_ms))
        query["symbol"], query["type"] = known.symbol, known.type
        series = f"{known.symbol} {known.type}"
    before = writer.rows
    try:
        async with found.api.stream(f"/collections/{path_part(collection)}/records", query, "*/*") as pieces:
            await _pass_on(pieces, to.form, writer)
    except ApiProblem as error:
        if counting := _COUNTING.search(error.next_step):
            raise CliError(f"{error}: {_recovery(' '.join(counting.groups()), where)}") from error
        raise CliError(f"the records of {collection} cannot be read: {error}") from error
    written = writer.rows - before
    if segment is not None and segment.records not in (0, written):
        raise CliError(
            f"{collection} holds {terminal.records(written)} where coverage has proven "
            f"{terminal.number(segment.records)}: {_recovery(series, where)}"
        )


async def _pass_on(pieces: AsyncIterator[bytes], form: Format, writer: RecordWriter) -> None:
    rest = b""
    headed = form is not Format.CSV
    async for piece in pieces:
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if not newline:
            continue
        whole += newline
        if not headed:
            header, _, whole = whole.partition(b"\n")
            writer.header(header + b"\n")
            headed = True
        if whole:
            writer.lines(whole)
    if rest:
        raise CliError("the server broke off in the middle of a record: try again")


def _is_complete(selection: Selection) -> bool | None:
    if selection.span is None:
        return None
    return all(hole.verdict in COMPLETE for hole in selection.holes)


def _report(
    selection: Selection, writer: RecordWriter, to: Destination, complete: bool | None, where: Where, *, as_json: bool
) -> None:
    if as_json:
        told = Exported(
            rows=writer.rows,
            file=str(to.file),
            format=to.form.value,
            complete=complete,
            holes=selection.holes,
            span=selection.span,
        )
        terminal.write(to_json(told))
        return
    goes_to = f" to {to}" if to.file is not None else ""
    span = selection.span
    named = span is None or span.basis == "range"  # the selection names it itself
    spoken_of = "" if named or span is None else f", {terminal.day_span(span.start_ms, span.end_ms)}"
    terminal.say(f"{terminal.records(writer.rows)} of {selection.name}{spoken_of}{goes_to}")
    for hole in selection.holes[:HOLES_SHOWN]:
        terminal.say(f"  hole: {_hole(hole)}")
    if len(selection.holes) > HOLES_SHOWN:
        terminal.say(f"  and {len(selection.holes) - HOLES_SHOWN} more holes: see `streamforge coverage`")
    if complete is False and selection.known is not None:
        terminal.say(f"not complete: {rest(selection.known, where)}, then export it again")
    elif complete is None:
        terminal.say("a collection says nothing of holes: export SYMBOL TYPE TIME_RANGE to see them")


def _hole(hole: data_answers.Segment) -> str:
    reason = terminal.VERDICTS.get(hole.verdict, "")
    return f"{terminal.day_span(hole.start_ms, hole.end_ms)}: {hole.verdict} ({reason})"
