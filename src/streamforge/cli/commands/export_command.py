"""`export`: the records themselves, oldest first, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.bar_export import BarRequest, MadeBars, bar_request, write_bars
from streamforge.cli.client import to_json
from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.commands.series_commands import HOLES_SHOWN
from streamforge.cli.coverage_text import (
    rest,
)
from streamforge.cli.datasets.dataset_command import dataset, export_dataset
from streamforge.cli.datasets.parquet_part import Columns
from streamforge.cli.export_selection import Selection, check_what, hole_text, select, why_nothing
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.cli.stored_records import Reader
from streamforge.cli.times import Times
from streamforge.cli.writers import Destination, Format, destination, import_pyarrow, record_writer
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.kinds.registry import kind_of, series_of


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What `export --json` prints. complete: None for a collection, which was not asked for as a range."""

    rows: int
    file: str
    format: str
    complete: bool | None
    holes: list[data_answers.Segment]
    span: data_answers.CoverageSpan | None
    bars: MadeBars | msgspec.UnsetType = msgspec.UNSET


async def export(
    what: Annotated[
        list[str], typer.Argument(metavar="QUEUE_ID | COLLECTION | SYMBOL TYPE [TIME_RANGE]", show_default=False)
    ],
    where: o.AtManager,
    file: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to a file, which appears when whole; its suffix names the format: .csv, .csv.gz, .jsonl, "
            ".jsonl.gz or .parquet. - is stdout. With --partition: the folder of a data set, or s3://BUCKET/PREFIX.",
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
    partition: Annotated[
        str | None,
        typer.Option(
            "--partition",
            metavar="day|month",
            help="Write a data set of Parquet files, one for each symbol and day (or month), into the folder --output. "
            "Files that are as they should be stay.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --partition: write every file of the range again.")
    ] = False,
    resample: Annotated[
        str | None,
        typer.Option(
            "--resample",
            metavar="INTERVAL",
            help="Of candles: make those of a longer interval, such as 5m, 1d, 1w or 1M. One that reaches into a hole "
            "is left out.",
        ),
    ] = None,
    candles: Annotated[
        str | None,
        typer.Option("--candles", metavar="INTERVAL", help="Of trades: make candles of this interval, likewise."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="With --resample or --candles: also those of which a part is not stored, and a column `complete`.",
        ),
    ] = False,
    life: o.WholeLife = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --output: print a summary as JSON.")] = False,
) -> int:
    """Write stored records to a file or to stdout: oldest first, each once, whichever collections they lie in.

    A CSV has a header of the record's field names; numbers are the shortest text that reads back to the same double.
    How many records there were, and which ranges are missing, is said on stderr.
    """
    request = bar_request(resample, candles, partial=partial)
    if partition is not None:
        to_folder = dataset(partition, form, file, times, request, again=again)
        return await export_dataset(what, where, to_folder, life=life, as_json=as_json)
    if again:
        raise UsageProblem("--again is for data sets: add --partition day (or month), or leave it out")
    if file is not None and "://" in file:
        raise UsageProblem("only a data set goes into a store of objects: add --partition day (or month)")
    to = destination(form, None if file is None else Path(file), times)
    if as_json and to.file is None:
        raise UsageProblem("--json tells about a file: name one with --output (the records themselves go to stdout)")
    check_what(what)
    async with session(where, Mode.READ) as found:
        selection = await select(found, what, where, life=life)
        if not selection.collection and not selection.stored:
            raise CliError(await why_nothing(found, what, selection, where))
        if request is not None:
            rows, made = await _made(found, selection, request, to, where)
        else:
            rows, made = await _copied(found, selection, to, where), None
    _report(selection, rows, made, to, where, as_json=as_json)
    return 1 if selection.complete is False else 0


async def _copied(found: Session, selection: Selection, to: Destination, where: Where) -> int:
    """Write the records as they are; returns how many."""
    reader = Reader(found, where, form=to.form.asked_for, iso=to.times is Times.ISO)
    columns = None
    if to.form is Format.PARQUET and selection.known is not None:
        kind = kind_of(series_of(selection.known.symbol, selection.known.type))
        columns = Columns(import_pyarrow(), kind, to.times)
    with record_writer(to, selection.collection, columns=columns) as writer:
        if selection.known is None:
            await reader.collection(selection.collection, writer)
            return writer.rows
        async with reader.reading(selection.known, selection.stored):
            for segment in selection.stored:
                await reader.segment(selection.known, segment, writer)
        return writer.rows


async def _made(
    found: Session, selection: Selection, request: BarRequest, to: Destination, where: Where
) -> tuple[int, MadeBars]:
    """Write candles that are made of the records."""
    known = selection.known
    if known is None:
        raise UsageProblem(
            f"candles are made of a series, and {selection.name} is a collection: write SYMBOL TYPE [TIME_RANGE]"
        )
    request.check(series_of(known.symbol, known.type))
    return await write_bars(found, Reader(found, where), known, request, to)


def _report(
    selection: Selection, rows: int, made: MadeBars | None, to: Destination, where: Where, *, as_json: bool
) -> None:
    complete = selection.complete
    if as_json:
        told = Exported(
            rows=rows,
            file=str(to.file),
            format=to.form.value,
            complete=complete,
            holes=selection.holes,
            span=selection.span,
            bars=msgspec.UNSET if made is None else made,
        )
        terminal.write(to_json(told))
        return
    goes_to = f" to {to}" if to.file is not None else ""
    span = selection.span
    named = span is None or span.basis == "range"  # the selection names it itself
    spoken_of = "" if named or span is None else f", {terminal.day_span(span.start_ms, span.end_ms)}"
    what = (
        f"{terminal.records(rows)} of" if made is None else f"{terminal.many(rows, 'candle')} of {made.interval} from"
    )
    terminal.say(f"{what} {selection.name}{spoken_of}{goes_to}")
    if made is not None:
        made.say()
    for hole in selection.holes[:HOLES_SHOWN]:
        terminal.say(f"  hole: {hole_text(hole)}")
    if len(selection.holes) > HOLES_SHOWN:
        terminal.say(f"  and {len(selection.holes) - HOLES_SHOWN} more holes: see `streamforge coverage`")
    if complete is False and selection.known is not None:
        terminal.say(f"not complete: {rest(selection.known, where)}, then export it again")
    elif complete is None:
        terminal.say("a collection says nothing of holes: export SYMBOL TYPE TIME_RANGE to see them")
