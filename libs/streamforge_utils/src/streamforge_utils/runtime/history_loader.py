"""What every loader of history does: ask for pages, several at once, and write them in the order of the series."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import ById, ByTime, Page, Question
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.context import Context

BATCH_PAGES = 5
"""Answers written at once, where so many have come."""
WAITING_PAGES = 10
"""Answers that may wait for their turn, beside those that are being written: a bus pauses now and then."""


class HistoryParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What can be chosen for a loader of history."""

    concurrency: Annotated[
        int,
        msgspec.Meta(ge=1, le=32, description="requests under way at once"),
        msgspec.Meta(extra={"unit": "requests"}),
    ] = 4


P = TypeVar("P", bound=HistoryParameters)


async def load_history(ctx: Context[P]) -> None:
    """Load the worker's ranges from the exchange's history into its output, oldest first.

    Records of a kind with ids are loaded a millisecond beyond both ends: others may share it with what is lacking.
    Raises what the exchange and the output raise.
    """
    now_ms = await ctx.exchange.server_time()
    ranges = [TimeRange(r.start_ms, min(r.end_ms, now_ms)) for r in ctx.ranges if r.start_ms < now_ms]
    paging, rule = ctx.kind.paging, ctx.kind.rule(ctx.series)
    if paging is None:
        raise PermanentError(f"{ctx.type}: the exchange gives no history of {ctx.kind.name} by requests")
    if isinstance(rule, Grid):
        await _load(ctx, _Windows(rule, ranges, paging.most))
        ranges = []
    for number, span in enumerate(ranges):
        first = await ctx.exchange.page(ctx.series, ByTime(TimeRange(max(0, span.start_ms - 1), now_ms), limit=1))
        if first:
            await _load(ctx, _Ids(first.positions[0], span, number, len(ranges), paging.most))
    ctx.progress.share = 1.0


class _Questions(ABC):
    """What to ask for, in the order of the series."""

    def __init__(self) -> None:
        self._over = False

    def end(self) -> None:
        """No later answer is wanted."""
        self._over = True

    def ended(self) -> bool:
        """Whether no later answer is wanted."""
        return self._over

    def next(self) -> Question | None:
        """The next question; None: there is none any more."""
        return None if self._over else self._next()

    @abstractmethod
    def _next(self) -> Question | None:
        """As `next`."""

    @abstractmethod
    def taken(self, question: Question, page: Page) -> tuple[Page, float]:
        """What of the next answer is wanted, and the share of all that is done with it."""


class _Windows(_Questions):
    """Ranges of time, each of which has as many records as an answer may hold."""

    def __init__(self, grid: Grid, ranges: Sequence[TimeRange], most: int) -> None:
        super().__init__()
        self._windows = (window for span in ranges for window in cut(grid, span, most))
        self._total_ms = sum(span.end_ms - span.start_ms for span in ranges)
        self._done_ms = 0

    def _next(self) -> Question | None:
        window = next(self._windows, None)
        return None if window is None else ByTime(window)

    def taken(self, question: Question, page: Page) -> tuple[Page, float]:
        assert isinstance(question, ByTime)  # noqa: S101 - it made it
        self._done_ms += question.span.end_ms - question.span.start_ms
        return page, min(1.0, self._done_ms / self._total_ms)


class _Ids(_Questions):
    """Ids from `first_id` on, until a record happened after the end of `span`. number: of the span, among `count`."""

    def __init__(self, first_id: int, span: TimeRange, number: int, count: int, most: int) -> None:
        super().__init__()
        self._next_id = first_id
        self._span = span
        self._before, self._count = number, count
        self._most = most
        self._first_id = first_id
        self._is_answered = False

    def _next(self) -> Question | None:
        if self._next_id > self._first_id and not self._is_answered:
            return None  # most repairs need one answer: more are asked for once it was not the last one
        question = ById(self._next_id)
        self._next_id += self._most
        return question

    def taken(self, question: Question, page: Page) -> tuple[Page, float]:
        assert isinstance(question, ById)  # noqa: S101 - it made it
        self._is_answered = True
        # An answer may reach into the ids of the next question, where some lack.
        end = bisect_left(page.positions, question.first_id + self._most)
        wanted = min(end, bisect_right(page.times, self._span.end_ms))
        self._over = not page or wanted < end
        page = Page(page.positions[:wanted], page.times[:wanted], page.keys[:wanted], page.values[:wanted])
        reached_ms = page.times[-1] if page else self._span.start_ms
        share = (reached_ms - self._span.start_ms) / (self._span.end_ms - self._span.start_ms)
        return page, (self._before + min(1.0, max(0.0, 1.0 if self._over else share))) / self._count


async def _load(ctx: Context[P], questions: _Questions) -> None:
    concurrency = ctx.parameters.concurrency
    pages: deque[tuple[Question, asyncio.Task[Page]]] = deque()

    def ask(_: object = None) -> None:
        if any(answer.done() and (answer.cancelled() or answer.exception()) for _, answer in pages):
            return
        asked = sum(not answer.done() for _, answer in pages)
        while asked < concurrency and len(pages) < concurrency + WAITING_PAGES:
            if (question := questions.next()) is None:
                return
            answer = asyncio.ensure_future(ctx.exchange.page(ctx.series, question))
            answer.add_done_callback(ask)
            pages.append((question, answer))
            asked += 1

    try:
        ask()
        while pages and not questions.ended():
            await pages[0][1]
            # What came while the last batch was written goes together: a slow bus gets larger batches.
            answered: list[Page] = []
            share = 0.0
            while pages and len(answered) < BATCH_PAGES and pages[0][1].done() and not pages[0][1].exception():
                question, answer = pages.popleft()
                page, share = questions.taken(question, answer.result())
                answered.append(page)
                if questions.ended():
                    break
            records = MessageColumns(
                [key for page in answered for key in page.keys], [value for page in answered for value in page.values]
            )
            writing = asyncio.ensure_future(ctx.output.write(records))
            ask()  # behind it: these records are on their way before the next are made
            await writing
            for page in answered:
                if page:
                    ctx.progress.position = page.times[-1]
            ctx.progress.share = share
    finally:
        questions.end()  # after a cancelled request nothing more is asked for
        for _, answer in pages:
            answer.cancel()
        await asyncio.gather(*(answer for _, answer in pages), return_exceptions=True)


def cut(grid: Grid, span: TimeRange, most: int) -> Iterator[TimeRange]:
    """Half-open windows that cover every step that begins in `span`, ascending, each with at most `most` of them.

    Windows begin on the grid; where the exchange alone knows it, at the span's start.
    """
    if grid.is_fixed(None):
        begins: Sequence[int] = grid.times(span.start_ms, span.end_ms)
    else:
        begins = range(span.start_ms, span.end_ms, grid.step_ms or 1)
    for first in range(0, len(begins), most):
        after = first + most
        yield TimeRange(begins[first], begins[after] if after < len(begins) else span.end_ms)
