"""Symbols that the exchange lists no longer and whose files its archive has: the files answer in place of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from streamforge_utils.model.completeness.rule import Bounds
from streamforge_utils.model.errors import InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import ByTime, Page, Question
from streamforge_utils.model.kinds.registry import daily_series, kind_of, rule_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import Archive, ArchiveFile, FileRefused
from streamforge_utils.ports.exchange import Exchange, SymbolInfo
from streamforge_utils.runtime.history.archive_loader import clipped
from streamforge_utils.runtime.history.archive_plan import Reading, is_month, readings

ARCHIVED = "ARCHIVED"
"""The status of a symbol that only the archive has."""
ONLY_ARCHIVED = "only the archive has the symbol"
LOOK_WITHIN_S = 3.0

_EMPTY = Page((), (), (), ())


class ArchiveSilent(RetryableError):
    """The exchange lists no such symbol, and the archive did not answer whether it has files of it."""


async def bounds_of_files(exchange: Exchange, archive: Archive, series: Series, now_ms: int) -> Bounds | None:
    """Where the records of a series begin and end that only the archive has; None: it has none.

    Files are not asked for ids: all of such a kind lies below the floor of the exchange. Where the file is refused in
    which a series begins or ends, it does so with the first and the last file that are listed: what its loader cannot
    read of these is told, the rest is loaded. Raises RetryableError or PermanentError.
    """
    rule = rule_of(series)
    has_ids = rule.position_at(0) is None
    if not has_ids:
        try:
            return await rule.bounds(exchange, series, now_ms, trading=False)
        except FileRefused:
            if not rule.is_fixed(None):
                raise
    files = await archive.files(series, TimeRange(0, now_ms))
    if not files:
        return None
    end_ms = max(one.span.end_ms for one in files)
    since_ms = min(one.span.start_ms for one in files)
    if not has_ids:
        return Bounds(rule.ceil(since_ms), rule.floor(end_ms - 1))
    return Bounds(end_ms, last_ms=end_ms - 1, floor=ONLY_ARCHIVED, since_ms=since_ms)


def with_archived(exchange: Exchange, archive: Archive | None) -> Exchange:
    """`exchange`, which answers for symbols that only `archive` has too."""
    return exchange if archive is None else WithArchived(exchange, archive)


class WithArchived:
    """An exchange and its archive. What the exchange answers is passed on; `symbols` are those that it lists."""

    def __init__(self, exchange: Exchange, archive: Archive) -> None:
        self._exchange = exchange
        self._archive = archive
        self.server_time = exchange.server_time
        self.symbols = exchange.symbols
        self.snapshot = exchange.snapshot
        self.set_weight_limit = exchange.set_weight_limit
        self.close = exchange.close

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        """The symbol as it is listed, else as `ARCHIVED`. Raises ArchiveSilent, or as the exchange does."""
        try:
            return await self._exchange.symbol_info(symbol)
        except InvalidInput as error:
            whole = TimeRange(0, await self._exchange.server_time())
            try:
                async with asyncio.timeout(LOOK_WITHIN_S):
                    found = await self._archive.files(daily_series(symbol), whole)
            except (RetryableError, PermanentError, TimeoutError) as silence:
                why = str(silence) or f"no answer within {LOOK_WITHIN_S:g} s"
                raise ArchiveSilent(f"{error}; whether its archive has {symbol} is not known: {why}") from silence
            if not found:
                raise
            if any(one.symbol == symbol for one in await self._exchange.symbols()):
                # One wrong answer must not end a series that goes on.
                raise RetryableError(f"{error}; but the exchange's list of all symbols has it") from error
            return SymbolInfo(symbol=symbol, status=ARCHIVED)

    async def page(self, series: Series, question: Question) -> Page:
        """The records that the exchange gives, else those of the archive's files. Raises as both do."""
        try:
            return await self._exchange.page(series, question)
        except InvalidInput:
            if not isinstance(question, ByTime) or rule_of(series).position_at(0) is None:
                raise
            files = await self._archive.files(series, question.span)
            if not files and not await self._archive.files(series, TimeRange(0, await self._exchange.server_time())):
                raise
        return await self._found(series, question, files)

    async def _found(self, series: Series, question: ByTime, files: Sequence[ArchiveFile]) -> Page:
        """The first of the records that the files have, or the newest ones.

        Where a month is refused, its days take its place. Raises FileRefused where it lacks one: nobody knows what
        that day had.
        """
        paging = kind_of(series).paging
        limit = question.limit or (1000 if paging is None else paging.most)
        order = 1 if question.newest else -1
        left: list[tuple[Reading, FileRefused | None]] = []
        left += [(one, None) for one in readings(files, [question.span])[::order]]
        found = _EMPTY
        while left and len(found) < limit:
            reading, refused = left.pop()
            if reading.file is None:
                if refused is not None:
                    raise refused
                continue
            try:
                page = await self._read(series, reading.file, reading.spans, limit - len(found), newest=question.newest)
            except FileRefused as error:
                if not is_month(reading.file):
                    raise
                left += [(one, error) for one in readings(files, reading.spans, months=False)[::order]]
                continue
            found = _joined(page, found) if question.newest else _joined(found, page)
        return found

    async def _read(
        self, series: Series, file: ArchiveFile, spans: Sequence[TimeRange], limit: int, *, newest: bool
    ) -> Page:
        found, part = _EMPTY, slice(-limit, None) if newest else slice(limit)
        verified = await self._archive.verify(series, file)
        async with aclosing(self._archive.records(series, verified)) as pages:
            async for page in pages:
                found = _joined(found, clipped(page, spans, min(page.times), max(page.times)), part)
                if len(found) == limit and not newest:
                    break
        return found


def _joined(before: Page, after: Page, part: slice = slice(None)) -> Page:
    """The part of both that is wanted."""
    return Page(
        [*before.positions, *after.positions][part],
        [*before.times, *after.times][part],
        [*before.keys, *after.keys][part],
        [*before.values, *after.values][part],
    )
