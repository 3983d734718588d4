"""How the faults of the stage `rows` change a page."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge.exchange import windows
from streamforge.exchange.fault_kind import Fault, FaultKind, Page
from streamforge.exchange.windows import Rows, Window

_HIGH, _LOW, _CLOSE, _CLOSES, _TRADES = 2, 3, 4, 6, 8
"""Columns of a candle."""


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


def _short(fault: Fault, page: Page) -> Rows:
    if not fault.first_time((page.series_id, page.window)):
        return page.rows
    return page.rows[: max(len(page.rows) - int(fault.number("rows")), 1)]


def _reversed(_: Fault, page: Page) -> Rows:
    return page.rows[::-1]


def _floor(fault: Fault, page: Page) -> Rows:
    floor = page.series.by_id(int(fault.number("id")))
    window = page.window
    if window.from_id is None or window.from_id >= floor:
        return [row for row in page.rows if row[0] >= floor]
    above = msgspec.structs.replace(window, from_id=int(fault.number("id")))
    return windows.read(page.series, windows.page(page.series, above, page.now_ms), page.now_ms)


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


def _revised(fault: Fault, page: Page) -> Rows:
    rows = Rows()
    for number, text in page.rows:
        row: Any = msgspec.json.decode(text)
        is_over = isinstance(row, list) and row[_CLOSES] < page.now_ms
        if is_over and fault.first_time((page.series_id, number)):
            row[_CLOSE] = row[_LOW] if row[_CLOSE] == row[_HIGH] else row[_HIGH]
            row[_TRADES] = max(row[_TRADES] - 1, 0)
            text = msgspec.json.encode(row)
        rows.append((number, text))
    return rows


def _torn(fault: Fault, page: Page) -> Rows:
    place, member, by = (0, "f", -1) if fault.options["side"] == "first" else (-1, "l", 1)
    number, text = page.rows[place]
    row: Any = msgspec.json.decode(text)
    spares = not fault.number("always") and not fault.first_time((page.series_id, page.window))
    if spares or not isinstance(row, dict) or member not in row:
        return page.rows
    rows = page.rows.copy()
    rows[place] = number, msgspec.json.encode({**row, member: row[member] + by})
    return rows


ROW_FAULTS: dict[str, FaultKind] = {
    "empty": FaultKind("rows", "[] although there is data; each window once", spoil=_empty),
    "missing": FaultKind("rows", "`rows` rows are left out; each row once", {"rows": 1}, spoil=_missing),
    "duplicate": FaultKind("rows", "`rows` rows come twice", {"rows": 1}, spoil=_duplicate),
    "disordered": FaultKind("rows", "the rows come in another order", spoil=_disordered),
    "shifted": FaultKind(
        "rows",
        "the page starts `by` rows later (each first row once); by=-1: one before the window",
        {"by": 1},
        spoil=_shifted,
    ),
    "short": FaultKind(
        "rows", "the page ends `rows` rows early, but has one; each window once", {"rows": 1}, spoil=_short
    ),
    "reversed": FaultKind("rows", "the newest row comes first", spoil=_reversed),
    "floor": FaultKind(
        "rows", "rows with ids below `id` are forgotten: what they are asked for begins there", {"id": 0}, spoil=_floor
    ),
    "open-candle": FaultKind(
        "rows",
        "the newest row, such as a candle that is not over yet, comes last, even outside the window",
        spoil=_open_candle,
    ),
    "revised": FaultKind(
        "rows", "of a candle that is over the first answer has another close and a trade less", spoil=_revised
    ),
    "torn": FaultKind(
        "rows",
        "the first (or last) aggregate holds a trade of its neighbour beyond the page; each window once, or always",
        {"side": "first", "always": 0},
        {"side": ("first", "last")},
        _torn,
    ),
    "bad-number": FaultKind(
        "rows",
        "one row is spoilt",
        {"kind": "nan"},
        {"kind": ("nan", "infinite", "text", "null", "negative", "columns")},
        _bad_number,
    ),
}
