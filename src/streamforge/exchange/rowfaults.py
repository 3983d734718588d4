"""The faults that change the rows of a page."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from streamforge.exchange import windows
from streamforge.exchange.faults import Fault
from streamforge.exchange.windows import Rows, RowSeries, Window


class Page(msgspec.Struct, frozen=True):
    """A page that is about to be answered. series_id: one for each series of the exchange. rows: ascending."""

    series_id: Hashable
    series: RowSeries
    window: Window
    now_ms: int
    rows: Rows


def spoil(fault: Fault, page: Page) -> Rows:
    """The rows of `page` after `fault`."""
    return _SPOIL[fault.name](fault, page) if page.rows or fault.name == "open-candle" else page.rows


def _empty(fault: Fault, page: Page) -> Rows:
    return [] if fault.first_time((page.series_id, page.window)) else page.rows


def _missing(fault: Fault, page: Page) -> Rows:
    chosen = fault.random.sample(page.rows, min(int(fault.number("rows")), len(page.rows)))
    gone = {number for number, _ in chosen if fault.first_time((page.series_id, number))}
    return [row for row in page.rows if row[0] not in gone]


def _duplicate(fault: Fault, page: Page) -> Rows:
    twice = set(fault.random.sample(range(len(page.rows)), min(int(fault.number("rows")), len(page.rows))))
    return [row for n, row in enumerate(page.rows) for _ in range(2 if n in twice else 1)]


def _disordered(fault: Fault, page: Page) -> Rows:
    rows = page.rows.copy()
    fault.random.shuffle(rows)
    return rows[::-1] if rows == page.rows else rows


def _shifted(fault: Fault, page: Page) -> Rows:
    by = int(fault.number("by"))
    if by < 0:
        earlier = windows.before(page.series, page.rows[0][0], -by, page.now_ms)
        return [*windows.read(page.series, earlier, page.now_ms), *page.rows][: page.window.limit]
    return [row for n, row in enumerate(page.rows) if n >= by or not fault.first_time((page.series_id, row[0]))]


def _open_candle(_: Fault, page: Page) -> Rows:
    latest = windows.read(page.series, windows.page(page.series, Window(limit=1), page.now_ms), page.now_ms)
    return [*page.rows, *(row for row in latest if row not in page.rows[-1:])]


def _bad_number(fault: Fault, page: Page) -> Rows:
    place = fault.random.randrange(len(page.rows))
    number, text = page.rows[place]
    row: Any = msgspec.json.decode(text)
    members = list(row) if isinstance(row, dict) else list(range(len(row)))
    decimals = [name for name in members if isinstance(row[name], str)]
    match fault.options["kind"]:
        case "columns":
            for name in reversed(members[-4:-1]):
                del row[name]
        case kind:
            values = {"nan": "NaN", "infinite": "Infinity", "text": "n/a", "null": None, "negative": "-1.00000000"}
            row[decimals[len(decimals) // 2]] = values[str(kind)]
    return [*page.rows[:place], (number, msgspec.json.encode(row)), *page.rows[place + 1 :]]


_SPOIL: dict[str, Callable[[Fault, Page], Rows]] = {
    "empty": _empty,
    "missing": _missing,
    "duplicate": _duplicate,
    "disordered": _disordered,
    "shifted": _shifted,
    "open-candle": _open_candle,
    "bad-number": _bad_number,
}
