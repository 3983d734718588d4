"""The faults that change the rows of a page."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from streamforge.exchange.faults import Fault
from streamforge.exchange.params import KlinesQuery
from streamforge.exchange.source import Source

Rows = list[bytes]


class Page(msgspec.Struct, frozen=True):
    """A page that is about to be answered. rows: times in milliseconds, ascending."""

    query: KlinesQuery
    source: Source
    now_ms: int
    rows: Rows


def spoil(fault: Fault, page: Page) -> Rows:
    """The rows of `page` after `fault`."""
    return _SPOIL[fault.name](fault, page) if page.rows or fault.name == "open-candle" else page.rows


def _empty(fault: Fault, page: Page) -> Rows:
    return [] if fault.first_time(page.query) else page.rows


def _missing(fault: Fault, page: Page) -> Rows:
    wanted = min(int(fault.number("rows")), len(page.rows))
    gone = {n for n in fault.random.sample(range(len(page.rows)), wanted) if _once(fault, page, n)}
    return [row for n, row in enumerate(page.rows) if n not in gone]


def _duplicate(fault: Fault, page: Page) -> Rows:
    twice = set(fault.random.sample(range(len(page.rows)), min(int(fault.number("rows")), len(page.rows))))
    return [row for n, row in enumerate(page.rows) for _ in range(2 if n in twice else 1)]


def _disordered(fault: Fault, page: Page) -> Rows:
    rows = page.rows.copy()
    fault.random.shuffle(rows)
    if rows == page.rows:
        rows.reverse()
    return rows


def _shifted(fault: Fault, page: Page) -> Rows:
    by = int(fault.number("by"))
    if by < 0:
        before = msgspec.structs.replace(page.query, start_ms=None, end_ms=_open_ms(page.rows[0]) - 1, limit=-by)
        return [*page.source.page(before, page.now_ms, open_candle=False), *page.rows][: page.query.limit]
    return [row for n, row in enumerate(page.rows) if n >= by or not _once(fault, page, n)]


def _open_candle(_: Fault, page: Page) -> Rows:
    newest = msgspec.structs.replace(page.query, start_ms=None, end_ms=None, limit=1)
    latest = page.source.page(newest, page.now_ms, open_candle=True)
    return [*page.rows, *(row for row in latest if row not in page.rows[-1:])]


def _bad_number(fault: Fault, page: Page) -> Rows:
    rows = page.rows.copy()
    place = fault.random.randrange(len(rows))
    cells = rows[place].split(b",")
    match fault.options["kind"]:
        case "columns":
            del cells[-4:-1]
        case "negative":
            cells[5] = b'"-1.00000000"'
        case kind:
            cells[4] = {"nan": b'"NaN"', "infinite": b'"Infinity"', "text": b'"n/a"', "null": b"null"}[str(kind)]
    rows[place] = b",".join(cells)
    return rows


def _once(fault: Fault, page: Page, n: int) -> bool:
    return fault.first_time((page.query.symbol, page.query.interval, _open_ms(page.rows[n])))


def _open_ms(row: bytes) -> int:
    return int(row[1 : row.index(b",")])


_SPOIL: dict[str, Callable[[Fault, Page], Rows]] = {
    "empty": _empty,
    "missing": _missing,
    "duplicate": _duplicate,
    "disordered": _disordered,
    "shifted": _shifted,
    "open-candle": _open_candle,
    "bad-number": _bad_number,
}
