"""Compares candles that are made of stored records with the exchange's own, as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from streamforge.cli.bar_export import BarRequest, BarTaker, MadeBars, bar_kind, price_before
from streamforge.cli.datasets.calendar_partitions import Period
from streamforge.cli.session import Session
from streamforge.cli.stored_records import Reader, Taker
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.kinds.bars import Bar
from streamforge_utils.model.timeranges import TimeRange, iso_ms

FIELDS = tuple(name for name in bar_kind().columns if name not in ("symbol", "interval", "open_time"))
"""What is compared."""
LISTED = 1000
"""Differences that are listed at most; all are counted."""
_HOUR_MS = 3_600_000


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field in which two candles differ."""

    open_time: int
    time: str
    field: str
    made: float
    stored: float


class Comparison(msgspec.Struct, kw_only=True):
    """Candles that were made, beside those that are stored.

    compared: candles that there are of both; equal: those that are alike in every field. only_made, only_stored: those
    that there are of one alone, as the other reaches into a hole. fields: in how many candles each differs.
    differences: the first ones, `LISTED` at most.
    """

    interval: str
    compared: int = 0
    equal: int = 0
    only_made: int = 0
    only_stored: int = 0
    fields: dict[str, int] = {}
    differences: list[Difference] = []
    bars: MadeBars | None = None

    def take(self, bar: Bar, stored: Bar | None) -> None:
        """Compare one."""
        if stored is None:
            self.only_made += 1
            return
        self.compared += 1
        unlike = [name for name in FIELDS if getattr(bar, name) != getattr(stored, name)]
        self.equal += not unlike
        for name in unlike:
            self.fields[name] = self.fields.get(name, 0) + 1
            if len(self.differences) < LISTED:
                self.differences.append(
                    Difference(
                        open_time=bar.open_time,
                        time=iso_ms(bar.open_time),
                        field=name,
                        made=getattr(bar, name),
                        stored=getattr(stored, name),
                    )
                )


class _Stored(Taker):
    """Holds stored candles by their open times."""

    def __init__(self) -> None:
        self.candles: dict[int, Bar] = {}
        self._read = msgspec.json.Decoder(Bar).decode_lines

    def lines(self, piece: bytes) -> None:
        self.candles.update({one.open_time: one for one in self._read(piece)})


async def compare_bars(
    found: Session,
    reader: Reader,
    known: data_answers.Coverage,
    own: data_answers.Coverage,
    request: BarRequest,
    span: TimeRange,
    progress: Callable[[Comparison], object] = lambda _: None,
) -> Comparison:
    """Make the candles of `span` from what `known` says is stored, and compare them with those that `own` says is.

    Holds two days of candles, of an hour and longer ones two months. Raises CliError.
    """
    result = Comparison(interval=request.interval.text)
    stored = _Stored()
    before, earlier = await price_before(found, reader, known, request, span.start_ms)
    maker = request.maker(known, span, [*earlier, *known.segments], before)

    def take(bars: Sequence[Bar]) -> None:
        for bar in bars:
            result.take(bar, stored.candles.pop(bar.open_time, None))

    taker = BarTaker(maker, take)
    length_ms = request.interval.grid.length_ms
    period = Period.DAY if length_ms is not None and length_ms < _HOUR_MS else Period.MONTH
    async with reader.reading(known, [*earlier, *known.segments]), reader.reading(own, own.segments):
        for part in period.cut(span):
            for segment in _within(own, part.within):
                await reader.segment(own, segment, stored)
            for segment in _within(known, part.within):
                await reader.segment(known, segment, taker)
            # A candle that is passed over now is not made any more.
            passed = [time_ms for time_ms in stored.candles if time_ms < maker.decided_ms]
            for time_ms in passed:
                del stored.candles[time_ms]
            result.only_stored += len(passed)
            progress(result)
    taker.end()
    result.only_stored += len(stored.candles)
    result.bars = MadeBars.of([maker], request)
    return result


def _within(known: data_answers.Coverage, span: TimeRange) -> list[data_answers.Segment]:
    """What is stored of `span`."""
    found = []
    for segment in known.segments:
        start_ms, end_ms = max(segment.start_ms, span.start_ms), min(segment.end_ms, span.end_ms)
        if segment.verdict != "stored" or start_ms >= end_ms:
            continue
        whole = (start_ms, end_ms) == (segment.start_ms, segment.end_ms)
        records = segment.records if whole else 0
        found.append(msgspec.structs.replace(segment, start_ms=start_ms, end_ms=end_ms, records=records))
    return found
