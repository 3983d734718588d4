"""The rows of a series, numbered in the order of time, and those of them that a request gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import msgspec

from streamforge.exchange.config import SymbolSpec
from streamforge_utils.model.timeranges import TimeRange

Rows = list[tuple[int, bytes]]
"""Rows with their numbers in the series."""

Numbers = tuple[int, int]
"""A range of rows: the numbers of the first and the last, both included; empty where the last is below the first."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are asked for. start_ms, end_ms: both included. from_id: the first id, included."""

    start_ms: int | None = None
    end_ms: int | None = None
    from_id: int | None = None
    limit: int = 500


class RowSeries(ABC):
    """The rows of one series, numbered by consecutive integers in the order of time.

    A row is the JSON text of one record as the REST API writes it, times in unix ms.
    holes: downtime; the rows that lie wholly inside do not exist.
    """

    holes: Sequence[TimeRange] = ()

    @abstractmethod
    def at(self, time_ms: int) -> int:
        """The number of the first row of `time_ms` or later."""

    @abstractmethod
    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        """The rows that there are at `now_ms`. final: those that will never change again."""

    @abstractmethod
    def rows(self, first: int, last: int, now_ms: int) -> list[bytes]:
        """The rows from number `first` to `last`, both included, as they are at `now_ms`."""

    def by_id(self, record_id: int) -> int:
        """The number of the first row whose id is `record_id` or above; here an id is the number."""
        return record_id

    def within(self, span: TimeRange) -> Numbers:
        """The rows that lie wholly inside `span`."""
        return self.at(span.start_ms), self.at(span.end_ms) - 1


class SeededRows(RowSeries):
    """Rows that follow from the seed: all between the symbol's listing and its delisting, none of which changes."""

    def __init__(self, spec: SymbolSpec, holes: Sequence[TimeRange] = ()) -> None:
        self.spec, self.holes = spec, holes

    def existing(self, now_ms: int, *, final: bool) -> Numbers:
        end_ms = now_ms + 1 if self.spec.delisted_ms is None else min(now_ms + 1, self.spec.delisted_ms)
        return self.at(self.spec.listed_ms), self.at(end_ms) - 1


def page(series: RowSeries, window: Window, now_ms: int) -> list[Numbers]:
    """The rows that a request for `window` gets at `now_ms`, ascending: without a start the newest, else the oldest."""
    newest = window.start_ms is None and window.from_id is None
    return _limited(_chosen(series, window, now_ms, final=False), window.limit, newest=newest)


def read(series: RowSeries, pieces: Iterable[Numbers], now_ms: int) -> Rows:
    """Rows by their numbers, as they are at `now_ms`."""
    return [
        row
        for first, last in pieces
        for row in zip(range(first, last + 1), series.rows(first, last, now_ms), strict=True)
    ]


def closed(series: RowSeries, span: TimeRange, now_ms: int) -> list[Numbers]:
    """All rows of `span` that never change again, ascending."""
    window = Window(start_ms=span.start_ms, end_ms=span.end_ms - 1)
    return _chosen(series, window, now_ms, final=True)


def before(series: RowSeries, number: int, count: int, now_ms: int) -> list[Numbers]:
    """The `count` rows that come just before row `number`."""
    first, _ = series.existing(now_ms, final=True)
    return _limited(_without_holes(series, (first, number - 1)), count, newest=True)


def _chosen(series: RowSeries, window: Window, now_ms: int, *, final: bool) -> list[Numbers]:
    first, last = series.existing(now_ms, final=final)
    if window.from_id is not None:
        first = max(first, series.by_id(window.from_id))
    if window.start_ms is not None:
        first = max(first, series.at(min(window.start_ms, now_ms + 1)))
    if window.end_ms is not None and window.end_ms < now_ms:
        last = min(last, series.at(window.end_ms + 1) - 1)
    return _without_holes(series, (first, last))


def _without_holes(series: RowSeries, rows: Numbers) -> list[Numbers]:
    left = [rows] if rows[0] <= rows[1] else []
    for gone_first, gone_last in map(series.within, series.holes):
        if gone_first > gone_last:
            continue
        pieces = [
            piece
            for first, last in left
            for piece in ((first, min(last, gone_first - 1)), (max(first, gone_last + 1), last))
        ]
        left = [(first, last) for first, last in pieces if first <= last]
    return left


def _limited(pieces: Iterable[Numbers], limit: int, *, newest: bool) -> list[Numbers]:
    kept: list[Numbers] = []
    for first, last in reversed([*pieces]) if newest else pieces:
        if limit <= 0:
            break
        take = min(limit, last - first + 1)
        kept.append((last - take + 1, last) if newest else (first, first + take - 1))
        limit -= take
    return kept[::-1] if newest else kept
