"""Order books of past moments: which collections have those of a symbol, and what the coverage says of the moment."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge.manager.engine.refusals import NotFound
from streamforge_utils.model.books.records import TYPE
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.names import collection_base, collection_name
from streamforge_utils.model.series import check_symbol
from streamforge_utils.model.spelling import closest
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.sink.past_books import NoBook, PastBooks, RebuiltBook

_AT_ONCE = 2
"""Each holds a segment and a book."""
_SUGGESTIONS = 3
_DAY = re.compile(r".*_(\d{4})_?(\d{2})_?(\d{2})", re.ASCII)


class FoundBook(msgspec.Struct, frozen=True):
    """A book, and what the coverage of its series says of the moment; None: nothing."""

    symbol: str
    at_ms: int
    book: RebuiltBook
    verdict: Verdict | None
    cause: str


class BookReader:
    """objects: where segments are; None: diffs lie in collections alone, if at all."""

    def __init__(
        self, store: Store, objects: ObjectStore | None, coverage: CoverageStore, workflows: WorkflowStore
    ) -> None:
        self._store, self._objects, self._coverage, self._workflows = store, objects, coverage, workflows
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def at(self, symbol: str, at_ms: int, now_ms: int) -> FoundBook:
        """The book of a symbol right after its last diff at or before a moment.

        Raises NotFound (none is stored of that moment; it says of which there are), InvalidInput (the moment is not
        over), DamagedFile or RetryableError.
        """
        symbol = check_symbol(symbol)
        if at_ms >= now_ms:
            raise InvalidInput(
                "at", f"at {format_ms(at_ms)} lies in the future (now is {format_ms(now_ms)}): choose an earlier moment"
            )
        known = await self._coverage.of(series_of(symbol, TYPE))
        begun = await self._collections(symbol, known)
        if not begun:
            raise await self._unknown(symbol)
        segment = next((one for one in known if at_ms in one.span), None)
        books = PastBooks(self._store, self._objects, begun, symbol)
        async with self._turns:
            try:
                book = await books.at(at_ms)
            except NoBook as error:
                raise NotFound(f"{error}{await _told(symbol, books, segment)}") from error
        if segment is None:
            return FoundBook(symbol, at_ms, book, None, "")
        if segment.verdict is Verdict.EXPIRED and book.trust is None:
            book = msgspec.structs.replace(book, why=Verdict.EXPIRED)
        return FoundBook(symbol, at_ms, book, segment.verdict, segment.cause)

    async def _collections(self, symbol: str, known: Sequence[Segment]) -> list[tuple[str, int]]:
        """The collections that may have books of a symbol, and when they were begun; the last one first."""
        begun = [(one.collection, one.start_ms) for one in known if one.collection is not None]
        begun += [(one.collection, one.span.start_ms) async for one in self._workflows.of_series(symbol, TYPE)]
        stem = collection_name(symbol, TYPE, 0)[: -len("1970_01_01")]
        there = await self._store.names()
        named = ((name, _DAY.fullmatch(name)) for name in there if name.startswith(stem))  # also by workers run by hand
        begun += [(name, _start_ms(day)) for name, day in named if day is not None]
        begun += [(Placement(collection_base(symbol, TYPE), daily=True).ledger, 0)]
        found: dict[str, int] = {}
        for name, start_ms in begun:
            found[name] = min(start_ms, found.get(name, start_ms))
        return sorted(((one, found[one]) for one in there if one in found), key=lambda one: one[1], reverse=True)

    async def _unknown(self, symbol: str) -> NotFound:
        kind = series_of(symbol, TYPE).kind
        symbols = {one.series.symbol async for one in self._coverage.all() if one.series.kind == kind}
        meant = closest(symbol, sorted(symbols), count=_SUGGESTIONS)
        advice = f"did you mean {' or '.join(meant)}?" if meant else f"record them with the type {TYPE}"
        return NotFound(f"no order books of {symbol} are stored: {advice}", meant=meant)


def _start_ms(day: re.Match[str]) -> int:
    year, month, of_month = map(int, day.groups())
    try:
        return int(datetime(year, month, of_month, tzinfo=UTC).timestamp()) * 1000
    except ValueError:  # no date
        return 0


async def _told(symbol: str, books: PastBooks, segment: Segment | None) -> str:
    """What there is instead of the book of a moment."""
    if segment is not None and segment.verdict is Verdict.EXPIRED:
        return f": what was stored of that moment is expired ({segment.cause or 'it was removed'})"
    recorded = await books.recorded()
    if recorded is None:
        return "; none was ever verified so far"
    end = f"ended ({recorded.cause})" if recorded.cause else "goes on"
    return (
        f"; there are books of {symbol} from {format_ms(recorded.start_ms)} to {format_ms(recorded.end_ms)}, where the "
        f"recording {end}: choose a moment between"
    )
