"""Candles made on export: of a coarser interval from candles (--resample), of any interval from trades (--candles)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import ApiProblem, UsageProblem
from streamforge.cli.datasets.parquet_part import Columns
from streamforge.cli.session import Session
from streamforge.cli.stored_records import Reader, Taker
from streamforge.cli.times import Times
from streamforge.cli.writers import Destination, Format, import_pyarrow, record_writer
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.coverage import Ranged
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.bars import Bar, BarInterval, BarMaker, Price, bar_interval, check_nested
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_of, kind_of_fields, series_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, iso_ms

COMPLETE = "complete"
"""The column of marks."""
_RANGES_SHOWN = 5
_AT_ONCE = 1000
"""Candles that are written at once."""
_LOOKED_BACK_MS = (60_000, 3_600_000, 86_400_000)
"""How far before a range its last price is looked for, one after the other."""

_encode = msgspec.json.encode
Give = Callable[[Sequence[Bar]], object]


class BarRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which candles are to be made. resampled: from candles. partial: also those that reach into holes, all marked."""

    interval: BarInterval
    resampled: bool
    partial: bool = False

    @property
    def made(self) -> str:
        """As a manifest names it."""
        return f"candles of {self.interval.text}{', with marks' if self.partial else ''}"

    def check(self, series: Series) -> None:
        """Raises UsageProblem where such candles cannot be made from the series."""
        kind, text = kind_of(series), self.interval.text
        if kind.amounts(b"") is None:
            raise UsageProblem(f"no candles can be made from {kind.name}: leave --resample and --candles out")
        if isinstance(kind.rule(series), Grid) is not self.resampled:
            right = "--candles" if self.resampled else "--resample"
            raise UsageProblem(f"candles are made from {kind.name} with {right} {text}")
        if self.resampled:
            try:
                check_nested(bar_interval(series.interval), self.interval)
            except InvalidInput as error:
                raise UsageProblem(str(error)) from error

    def maker(
        self, known: data_answers.Coverage, span: TimeRange, segments: Sequence[Ranged], before: Price | None
    ) -> BarMaker:
        """What makes the candles that open in `span`. segments: what is known of it, and perhaps of more."""
        series = series_of(known.symbol, known.type)
        return BarMaker(
            kind_of(series),
            series,
            self.interval,
            span=span,
            stored=_spans(segments, "stored"),
            closed=_spans(segments, "closed"),
            partial=self.partial,
            before=before,
        )


def bar_request(resample: str | None, candles: str | None, *, partial: bool) -> BarRequest | None:
    """What the options mean; None: records are exported as they are. Raises UsageProblem."""
    if resample is not None and candles is not None:
        raise UsageProblem("--resample is for candles, --candles for trades: give one of them")
    text = candles if resample is None else resample
    if text is None:
        if partial:
            raise UsageProblem("--partial is for candles that are made: add --resample or --candles")
        return None
    try:
        return BarRequest(interval=bar_interval(text), resampled=candles is None, partial=partial)
    except InvalidInput as error:
        raise UsageProblem(str(error)) from error


def bar_kind() -> RecordKind:
    """The kind whose records the candles are."""
    kind = kind_of_fields(set(Bar.__struct_fields__) - {COMPLETE})
    assert kind is not None  # noqa: S101 - a test compares the fields
    return kind


def bar_columns(request: BarRequest, times: Times, *, left_out: Sequence[str] = ()) -> Columns:
    """The columns of the candles in Parquet. Raises CliError where pyarrow is not installed."""
    more: dict[str, type] = {COMPLETE: bool} if request.partial else {}
    return Columns(import_pyarrow(), bar_kind(), times, more, left_out=left_out)


class BarTaker(Taker):
    """Takes records and gives the candles that are made of them, some at a time; counts them."""

    def __init__(self, maker: BarMaker, give: Give) -> None:
        self.maker, self._give = maker, give
        self.rows = 0

    def lines(self, piece: bytes) -> None:
        self._pass_on(self.maker.add(piece))

    def end(self) -> None:
        """There are no more records."""
        self._pass_on(self.maker.end())

    def _pass_on(self, bars: Iterator[Bar]) -> None:
        while some := list(islice(bars, _AT_ONCE)):
            self.rows += len(some)
            self._give(some)


class MadeBars(msgspec.Struct, frozen=True, kw_only=True):
    """How candles were made, and which were not. left_out: they reach into a hole, or beyond the range.

    ranges: their times. unpriced: nothing was traded in them, and the price before is not known. late: records that
    happened before the candle in which they are counted.
    """

    interval: str
    partial: bool
    left_out: int
    ranges: list[tuple[int, int]]
    unpriced: int
    late: int

    @classmethod
    def of(cls, makers: Iterable[BarMaker], request: BarRequest) -> MadeBars:
        """What some makers left out."""
        left_out, ranges, unpriced, late = 0, list[tuple[int, int]](), 0, 0
        for maker in makers:
            spans = maker.left_out()
            left_out += maker.bars_in(spans)
            ranges += [(span.start_ms, span.end_ms) for span in spans]
            unpriced, late = unpriced + maker.unpriced, late + maker.late
        return cls(
            interval=request.interval.text,
            partial=request.partial,
            left_out=left_out,
            ranges=ranges,
            unpriced=unpriced,
            late=late,
        )

    def say(self) -> None:
        """On stderr, what is not as one may expect."""
        if self.left_out:
            what = "incomplete" if self.partial else "left out"
            terminal.say(f"  {what}: {terminal.many(self.left_out, 'candle')} of which a part is not stored")
        for start_ms, end_ms in self.ranges[:_RANGES_SHOWN]:
            terminal.say(f"    {terminal.day_span(start_ms, end_ms)}")
        if len(self.ranges) > _RANGES_SHOWN:
            terminal.say(f"    and {len(self.ranges) - _RANGES_SHOWN} more ranges")
        if self.unpriced:
            terminal.say(
                f"  left out: {terminal.many(self.unpriced, 'candle')} without a trade, the price before not known"
            )
        if self.late:
            terminal.say(
                f"  out of order: {terminal.records(self.late)} with a time before the candle of the trades around"
            )


async def write_bars(
    found: Session, reader: Reader, known: data_answers.Coverage, request: BarRequest, to: Destination
) -> tuple[int, MadeBars]:
    """Make the candles of what `known` says is stored; how many there are, and which are not. Raises CliError."""
    assert known.span is not None  # noqa: S101 - something of it is stored
    span = TimeRange(known.span.start_ms, known.span.end_ms)
    before, earlier = await price_before(found, reader, known, request, span.start_ms)
    maker = request.maker(known, span, [*earlier, *known.segments], before)
    columns = bar_columns(request, to.times, left_out=()) if to.form is Format.PARQUET else None
    with record_writer(to, columns=columns) as writer:
        if to.form is Format.CSV:
            writer.header(_csv_line(_fields(request)))
        taker = BarTaker(maker, lambda bars: writer.lines(_text(bars, request, to)))
        async with reader.reading(known, [*earlier, *known.segments]):
            for segment in known.segments:
                if segment.verdict == "stored":
                    await reader.segment(known, segment, taker)
        taker.end()
    return taker.rows, MadeBars.of([maker], request)


async def price_before(
    found: Session, reader: Reader, known: data_answers.Coverage, request: BarRequest, time_ms: int
) -> tuple[Price | None, list[data_answers.Segment]]:
    """The last price before `time_ms` with nothing lacking in between, and what is stored from there on.

    Only of records that are moments: candles of a coarser interval need none. Raises CliError.
    """
    if request.resampled:
        return None, []
    path = f"/coverage/{path_part(known.symbol)}/{path_part(known.type)}"
    reach = TimeRange(max(0, time_ms - _LOOKED_BACK_MS[-1]), time_ms)
    try:
        earlier = (await found.api.get(path, data_answers.Coverage, {"time_range": str(reach)})).segments
    except ApiProblem as error:
        if error.kind in ("not-found", "invalid-input"):
            return None, []
        raise
    touching: list[data_answers.Segment] = []
    start_ms = time_ms
    for segment in reversed(earlier):
        if segment.verdict != "stored" or segment.end_ms != start_ms:
            break
        touching.insert(0, segment)
        start_ms = segment.start_ms
    for back_ms in _LOOKED_BACK_MS:
        last = _LastLine()
        for segment in touching:
            if segment.end_ms > time_ms - back_ms:
                await reader.segment(known, _from(segment, time_ms - back_ms), last)
        if last.line:
            amounts = kind_of(series_of(known.symbol, known.type)).amounts(last.line)
            if amounts:
                return Price(amounts[0].time, amounts[0].close), touching
    return None, touching


class _LastLine(Taker):
    """Keeps the last record."""

    def __init__(self) -> None:
        self.line = b""

    def lines(self, piece: bytes) -> None:
        self.line = piece[piece.rfind(b"\n", 0, len(piece) - 1) + 1 :]


def _from(segment: data_answers.Segment, start_ms: int) -> data_answers.Segment:
    if start_ms <= segment.start_ms:
        return segment
    return msgspec.structs.replace(segment, start_ms=start_ms, records=0)


def _spans(segments: Iterable[Ranged], verdict: str) -> list[TimeRange]:
    return [TimeRange(one.start_ms, one.end_ms) for one in segments if one.verdict == verdict]


def _fields(request: BarRequest) -> list[str]:
    return [name for name in Bar.__struct_fields__ if request.partial or name != COMPLETE]


def json_lines(bars: Iterable[Bar]) -> bytes:
    """Candles as JSON lines, instants in milliseconds."""
    return b"".join([_encode(bar) + b"\n" for bar in bars])


def _text(bars: Sequence[Bar], request: BarRequest, to: Destination) -> bytes:
    if to.form is not Format.CSV and to.times is not Times.ISO:
        return json_lines(bars)
    fields, times = _fields(request), bar_kind().times if to.times is Times.ISO else ()
    rows = [{name: getattr(bar, name) for name in fields} for bar in bars]
    for row in rows:
        row.update({name: iso_ms(row[name]) for name in times})
    if to.form is Format.JSONL:
        return b"".join([_encode(row) + b"\n" for row in rows])
    if request.partial:
        for row in rows:
            row[COMPLETE] = "true" if row[COMPLETE] else "false"
    return b"".join([_csv_line(row.values()) for row in rows])


def _csv_line(values: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)  # writes a float as its repr: the shortest text
    return text.getvalue().encode()
