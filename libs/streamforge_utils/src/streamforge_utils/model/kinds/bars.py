"""Candles made from other records: of a coarser interval from candles, of any interval from trades.

A bar is made of what is proven to be stored, and of nothing else: one that reaches into a hole is left out, or marked.
Amounts are added as decimal numbers, so that no sum depends on the order or the number of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.kind import Amounts, RecordKind
from streamforge_utils.model.timeranges import TimeRange

if TYPE_CHECKING:
    from streamforge_utils.model.series import Series

DIGITS = 60
"""Of a sum: more than any has."""
_DAY = 86_400_000
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": _DAY}
_INTERVAL = re.compile(r"(?P<count>[1-9][0-9]{0,5})(?P<unit>[smhdwM]|mo)", re.ASCII)
_MONDAY = 4 * _DAY
_FORMS = "choose 1m, 5m, 1h, 4h, 1d, 1w, 1M or another length in s, m or h that divides a day"


class BarInterval(msgspec.Struct, frozen=True):
    """An interval on the calendar. text: its one spelling, the exchange's where that has it."""

    text: str
    grid: Grid


def bar_interval(text: str) -> BarInterval:
    """Read `5m`, `1d`, `1w`, `1M` (or `1mo`). Raises InvalidInput for what the calendar does not fix."""
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise InvalidInput("interval", f"interval {text[:40]!r} is not understood: {_FORMS}")
    count, unit = int(match["count"]), match["unit"]
    if unit in ("w", "M", "mo"):
        if count != 1:
            raise InvalidInput("interval", f"interval {text!r}: weeks and months are not grouped: {_FORMS}")
        return BarInterval("1w", Grid(7 * _DAY, _MONDAY)) if unit == "w" else BarInterval("1M", Grid(None))
    length_ms = count * _UNITS[unit]
    if _DAY % length_ms:
        why = "where such bars open only the exchange tells" if length_ms > _DAY else "it does not divide a day"
        raise InvalidInput("interval", f"interval {text!r}: {why}: {_FORMS}")
    whole = next(one for one in ("d", "h", "m", "s") if length_ms % _UNITS[one] == 0)
    return BarInterval(f"{length_ms // _UNITS[whole]}{whole}", Grid(length_ms))


def check_nested(fine: BarInterval, coarse: BarInterval) -> None:
    """Raises InvalidInput unless each bar of `coarse` holds some whole bars of `fine`, and more than one."""
    length_ms, of_ms = coarse.grid.length_ms, fine.grid.length_ms
    if fine.text == coarse.text:
        raise InvalidInput("interval", f"interval {coarse.text} is that of the candles already: leave it out")
    reason = None
    if of_ms is None or (length_ms is not None and length_ms < of_ms):
        reason = f"it is not longer than {fine.text}"
    elif (_DAY if length_ms is None else length_ms) % of_ms or ((coarse.grid.offset_ms or 0) % of_ms):
        reason = f"its bars do not hold whole bars of {fine.text}"
    if reason is not None:
        raise InvalidInput("interval", f"interval {coarse.text} cannot be made from {fine.text}: {reason}")


class Bar(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A candle that was made; the fields are those of an exported candle. complete: only where marks are asked for."""

    symbol: str
    interval: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_time: int
    quote_asset_volume: float
    number_of_trades: int
    taker_buy_base_asset_volume: float
    taker_buy_quote_asset_volume: float
    complete: bool | msgspec.UnsetType = msgspec.UNSET


class Price(msgspec.Struct, frozen=True):
    """The last price before a range. time: of its record, unix milliseconds."""

    time: int
    close: Decimal


def joined_spans(spans: Iterable[TimeRange]) -> list[TimeRange]:
    """`spans` sorted, and made one where they touch."""
    found: list[TimeRange] = []
    for span in sorted(spans):
        if found and span.start_ms <= found[-1].end_ms:
            found[-1] = TimeRange(found[-1].start_ms, max(found[-1].end_ms, span.end_ms))
        else:
            found.append(span)
    return found


class BarMaker:
    """Makes the bars of a range from records in their order, each once, in bounded memory.

    A bar is whole if all of it is stored, or closed: the symbol was not traded. One that is not whole
    is left out, or with `partial` given if it has a record, each bar then saying whether it is `complete`. Of records
    that are moments a whole bar without any is flat at the last price before, as the exchange gives it, if no hole
    lies between.

    late: records that happened before the bar in which they are counted. unpriced: whole bars that are left out since
    the last price before them is not known.
    """

    def __init__(
        self,
        kind: RecordKind,
        series: Series,
        interval: BarInterval,
        *,
        span: TimeRange,
        stored: Sequence[TimeRange],
        closed: Sequence[TimeRange] = (),
        partial: bool = False,
        before: Price | None = None,
    ) -> None:
        """span: the bars that open in it are made. stored, closed: as the coverage says; they may reach beyond it."""
        self._kind, self._series, self._interval, self._grid = kind, series, interval, interval.grid
        self._span, self._partial = span, partial
        self._stored = joined_spans(stored)
        self._known = joined_spans([*stored, *closed])
        self._flat = not isinstance(kind.rule(series), Grid)
        self._last = before
        self._at = 0
        self._stored_at = 0
        self._next_ms = self._grid.ceil(span.start_ms)
        """The opening of the first bar about which nothing is decided yet."""
        self._end_ms = self._next_ms
        """The end of the bar under way."""
        self._sums: Amounts | None = None
        self.late = 0
        self.unpriced = 0

    def add(self, lines: bytes) -> Iterator[Bar]:
        """Take exported records, as JSON lines; the bars that are over then.

        Raises InvalidInput for a kind without amounts, PermanentError for what is no record of the kind.
        """
        found = self._kind.amounts(lines)
        if found is None:
            raise InvalidInput("type", f"no candles can be made from {self._kind.name}")
        with localcontext(prec=DIGITS):
            made: list[Bar] = []
            for one in found:
                self._take(one, made)
        yield from made

    def end(self) -> Iterator[Bar]:
        """The bars that are left when there is no record any more."""
        made: list[Bar] = []
        self._finish(made)
        yield from made
        yield from self._quiet(self._span.end_ms)

    @property
    def decided_ms(self) -> int:
        """The opening of the first bar that may still be given."""
        return self._next_ms

    def left_out(self) -> list[TimeRange]:
        """The times of the bars that are not whole, each a number of bars; those that are closed wholly are none."""
        grid, span = self._grid, self._span
        first_ms, end_ms = grid.floor(span.start_ms), grid.ceil(span.end_ms)
        cuts: list[TimeRange] = []
        cursor_ms = first_ms
        for known in [*self._known, TimeRange(end_ms, end_ms + 1)]:
            known_start = min(max(known.start_ms, first_ms), end_ms)
            if cursor_ms < known_start:
                cuts.append(TimeRange(grid.floor(cursor_ms), grid.ceil(known_start)))
            cursor_ms = max(cursor_ms, known.end_ms)
        if span.start_ms > first_ms:
            cuts.append(TimeRange(first_ms, grid.next(first_ms)))
        return joined_spans(cuts)

    def bars_in(self, spans: Iterable[TimeRange]) -> int:
        """How many bars open in the ranges."""
        return sum(len(self._grid.times(span.start_ms, span.end_ms)) for span in spans)

    def _take(self, one: Amounts, made: list[Bar]) -> None:
        sums = self._sums
        if sums is not None and one.time < self._end_ms:
            if one.time < self._next_ms:
                self.late += 1
            self._sums = _added(sums, one)
        else:
            self._finish(made)
            open_ms = self._grid.floor(one.time)
            if open_ms < self._next_ms:
                # Of a bar that opened before the range, or that is over already.
                if open_ms >= self._span.start_ms:
                    self.late += 1
                self._last = Price(one.time, one.close)
                return
            made += self._quiet(open_ms)
            self._next_ms, self._end_ms = open_ms, self._grid.next(open_ms)
            self._sums = one
        self._last = Price(one.time, one.close)

    def _finish(self, made: list[Bar]) -> None:
        """End the bar under way."""
        sums, self._sums = self._sums, None
        if sums is None:
            return
        open_ms, self._next_ms = self._next_ms, self._end_ms
        if open_ms >= self._span.end_ms:
            return
        whole = self._is_known(open_ms, self._end_ms)
        if whole or self._partial:
            made.append(self._bar(open_ms, sums, complete=whole))

    def _quiet(self, until_ms: int) -> Iterator[Bar]:
        """The flat bars from where it stands to before `until_ms`."""
        until_ms = min(until_ms, self._grid.ceil(self._span.end_ms))
        if not self._flat:
            self._next_ms = max(self._next_ms, until_ms)
            return
        while self._next_ms < until_ms:
            open_ms = self._next_ms
            end_ms = self._next_ms = self._grid.next(open_ms)
            if not self._is_known(open_ms, end_ms) or not self._is_stored_in(open_ms, end_ms):
                continue
            last = self._last
            if last is None or not self._is_known(last.time, end_ms):
                self.unpriced += 1
                continue
            nothing, price = Decimal(0), last.close
            flat = Amounts(open_ms, price, price, price, price, nothing, nothing, 0, nothing, nothing)
            yield self._bar(open_ms, flat, complete=True)

    def _is_known(self, start_ms: int, end_ms: int) -> bool:
        known = self._known
        while self._at < len(known) and known[self._at].end_ms < end_ms:
            self._at += 1
        return self._at < len(known) and known[self._at].start_ms <= start_ms

    def _is_stored_in(self, start_ms: int, end_ms: int) -> bool:
        """Whether a part of the range is stored."""
        stored = self._stored
        while self._stored_at < len(stored) and stored[self._stored_at].end_ms <= start_ms:
            self._stored_at += 1
        return self._stored_at < len(stored) and stored[self._stored_at].start_ms < end_ms

    def _bar(self, open_ms: int, sums: Amounts, *, complete: bool) -> Bar:
        return Bar(
            symbol=self._series.symbol,
            interval=self._interval.text,
            open_time=open_ms,
            open=float(sums.open),
            high=float(sums.high),
            low=float(sums.low),
            close=float(sums.close),
            volume=float(sums.volume),
            close_time=self._grid.next(open_ms) - 1,
            quote_asset_volume=float(sums.quote),
            number_of_trades=sums.trades,
            taker_buy_base_asset_volume=float(sums.taker_base),
            taker_buy_quote_asset_volume=float(sums.taker_quote),
            complete=complete if self._partial else msgspec.UNSET,
        )


def _added(sums: Amounts, one: Amounts) -> Amounts:
    return Amounts(
        sums.time,
        sums.open,
        max(sums.high, one.high),
        min(sums.low, one.low),
        one.close,
        sums.volume + one.volume,
        sums.quote + one.quote,
        sums.trades + one.trades,
        sums.taker_base + one.taker_base,
        sums.taker_quote + one.taker_quote,
    )
