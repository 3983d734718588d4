"""`export --partition`: what its options mean, and what is said at its end."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge.cli import terminal
from streamforge.cli.bar_export import BarRequest, MadeBars
from streamforge.cli.client import to_json
from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.commands.series_commands import HOLES_SHOWN
from streamforge.cli.coverage_text import load_command, request_of
from streamforge.cli.datasets.calendar_partitions import Period
from streamforge.cli.datasets.dataset_export import Dataset, DatasetExport, Written
from streamforge.cli.datasets.dataset_manifest import Verdicts
from streamforge.cli.datasets.object_place import place_of
from streamforge.cli.export_selection import Selection, check_what, hole_text, select, why_nothing
from streamforge.cli.session import Mode, Session, Where, session
from streamforge.cli.stored_records import Reader
from streamforge.cli.writers import STDOUT, Format, named_format, named_times
from streamforge_utils.model.coverage import COMPLETE
from streamforge_utils.model.timeranges import TimeRange


class ExportedDataset(msgspec.Struct, frozen=True, kw_only=True):
    """What `export --partition … --json` prints. rows, bytes: of all partitions of the span; holes: in them."""

    rows: int
    bytes: int
    folder: str
    format: str
    partition: str
    partitions_written: int
    partitions_unchanged: int
    partitions_kept: int
    complete: bool
    holes: list[Verdicts]
    bars: MadeBars | msgspec.UnsetType = msgspec.UNSET
    start_ms: int
    end_ms: int


def dataset(
    partition: str,
    form: str | None,
    output: str | None,
    times: str | None,
    bars: BarRequest | None = None,
    *,
    again: bool = False,
) -> Dataset:
    """What the options mean. Raises UsageProblem."""
    try:
        period = Period(partition.lower())
    except ValueError:
        choices = " or ".join(Period)
        raise UsageProblem(f"partition {partition[:40]!r} is not known: choose {choices}") from None
    if form is not None and named_format(form) is not Format.PARQUET:
        raise UsageProblem(f"--partition writes Parquet, and --format says {form}: leave one of them out")
    if output is None or output == str(STDOUT):
        raise UsageProblem("a data set is a folder: name it with --output DIR (or s3://BUCKET/PREFIX)")
    written = named_times(times, Format.PARQUET)
    return Dataset(place=place_of(output), period=period, times=written, bars=bars, again=again)


async def export_dataset(what: Sequence[str], where: Where, to: Dataset, *, life: bool, as_json: bool) -> int:
    """Write a series into a data set; returns the exit code. Raises CliError."""
    check_what(what)
    try:
        async with session(where, Mode.READ) as found:
            selection, written = await _write(found, what, where, to, life=life)
    finally:
        await to.place.close()
    if as_json:
        terminal.write(to_json(_exported(written, to)))
    else:
        _report(written, to, selection, where)
    return 0 if written.complete else 1


async def _write(
    found: Session, what: Sequence[str], where: Where, to: Dataset, *, life: bool
) -> tuple[Selection, Written]:
    selection = await select(found, what, where, life=life)
    if selection.known is None:
        raise UsageProblem(
            f"a data set is of a series, and {selection.name} is a collection: write SYMBOL TYPE [TIME_RANGE], or "
            "leave --partition out, which writes one file: "
            f"`streamforge export {selection.name} --output {selection.name}.jsonl{where.flags()}`"
        )
    written = None
    if selection.known.span is not None:
        written = await DatasetExport(found, Reader(found, where), to, selection.known).run()
    if written is None:
        raise CliError(await why_nothing(found, what, selection, where))
    return selection, written


def _exported(written: Written, to: Dataset) -> ExportedDataset:
    return ExportedDataset(
        rows=written.rows,
        bytes=written.bytes,
        folder=str(to.place),
        format=Format.PARQUET.value,
        partition=to.period.value,
        partitions_written=written.written,
        partitions_unchanged=written.unchanged,
        partitions_kept=written.kept,
        complete=written.complete,
        holes=written.holes,
        bars=msgspec.UNSET if to.bars is None else MadeBars.of(written.makers, to.bars),
        start_ms=written.span.start_ms,
        end_ms=written.span.end_ms,
    )


def _report(written: Written, to: Dataset, selection: Selection, where: Where) -> None:
    known = selection.known
    assert known is not None  # noqa: S101 - a data set is of a series
    count = written.written + written.unchanged + written.kept
    what = f"{terminal.records(written.rows)} of"
    if to.bars is not None:
        what = f"{terminal.many(written.rows, 'candle')} of {to.bars.interval.text} from"
    terminal.say(
        f"{what} {selection.name} in {terminal.many(count, 'partition')} of {to.place}: "
        f"{written.written} written, {written.unchanged + written.kept} as before"
    )
    if written.kept:
        terminal.say(
            f"  {terminal.many(written.kept, 'partition')} stayed: they hold more than what is stored now; --again "
            "replaces them"
        )
    if to.bars is not None:
        MadeBars.of(written.makers, to.bars).say()
    for hole in written.holes[:HOLES_SHOWN]:
        terminal.say(f"  hole: {hole_text(hole)}")
    if len(written.holes) > HOLES_SHOWN:
        terminal.say(f"  and {len(written.holes) - HOLES_SHOWN} more holes: the manifest has all")
    lacking = [hole for hole in written.holes if hole.verdict not in COMPLETE]
    if lacking:
        span = request_of(TimeRange(lacking[0].start_ms, lacking[-1].end_ms))
        load = load_command((known.symbol, known.type, span), where)
        terminal.say(f"not complete: load the rest with {load}, then export it again")
