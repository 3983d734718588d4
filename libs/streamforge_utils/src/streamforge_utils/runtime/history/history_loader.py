"""What every loader of history does: ask for pages, several at once, and write them in the order of the series."""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import ById, ByTime, Page, Question
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.history.page_chain import PageChain
from streamforge_utils.runtime.life.context import Context

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
    Where the first id is known (`ctx.first_id`) nothing before it is written. Of a `chained` kind the record before it
    is asked for, too: it tells which one follows. Raises what the exchange and the output raise.
    """
    now_ms = await ctx.exchange.server_time()
    ranges = [TimeRange(r.start_ms, min(r.end_ms, now_ms)) for r in ctx.ranges if r.start_ms < now_ms]
    paging, rule = ctx.kind.paging, ctx.kind.rule(ctx.series)
    chain = PageChain(ctx.exchange, ctx.kind, ctx.series)
    if paging is None:
        raise PermanentError(f"{ctx.type}: the exchange gives no history of {ctx.kind.name} by requests")
    if isinstance(rule, Grid):
        await _load(ctx, chain, *_by_time(rule, ranges, paging.most))
        ranges = []
    for number, span in enumerate(ranges):
        share = partial(_share, span, number, len(ranges))
        first_id = ctx.first_id if span.start_ms == ctx.ranges[0].start_ms else None
        if first_id is None:
            question = ByTime(TimeRange(max(0, span.start_ms - 1), now_ms), limit=1, places=True)
            # That there is none is asked twice: a wrong answer would cost a round of repair.
            first = await ctx.exchange.page(ctx.series, question) or await ctx.exchange.page(ctx.series, question)
            if not first:
                continue
            first_id = first.positions[0]
        asked_id = max(0, first_id - 1) if ctx.kind.chained else first_id
        second_id = asked_id + paging.most
        # Most repairs need one answer: how many more there are is asked for once it was not the last one.
        asked = _by_id(range(asked_id, second_id), first_id, span, paging.most, share)
        if not await _load(ctx, chain, *asked):
            behind = TimeRange(span.end_ms + 1, now_ms) if span.end_ms + 1 < now_ms else None
            after = await ctx.exchange.page(ctx.series, ByTime(behind, limit=1, places=True)) if behind else None
            end_id = after.positions[0] if after else sys.maxsize
            await _load(ctx, chain, *_by_id(range(second_id, end_id), second_id, span, paging.most, share))
        await _write(ctx, [chain.end()])
    ctx.progress.share = 1.0


class _Taken(msgspec.Struct, frozen=True):
    """What of an answer is wanted. share: of all that is done with it. over: no later answer is wanted."""

    page: Page
    share: float
    over: bool = False


_Take = Callable[[Any, Page], _Taken]
"""Given a question and its answer, in the order of the questions."""


def _by_time(grid: Grid, ranges: Sequence[TimeRange], most: int) -> tuple[Iterator[ByTime], _Take]:
    """Questions for ranges of time, each of which has at most `most` records."""
    total_ms = sum(span.length_ms for span in ranges)
    done_ms = 0

    def take(question: ByTime, page: Page) -> _Taken:
        nonlocal done_ms
        done_ms += question.span.length_ms
        return _Taken(page, min(1.0, done_ms / total_ms))

    return (ByTime(window) for span in ranges for window in cut(grid, span, most)), take


def _by_id(
    ids: range, first_id: int, span: TimeRange, most: int, share: Callable[[int], float]
) -> tuple[Iterator[ById], _Take]:
    """Questions for `ids`, `most` at a time, until a record happened after the end of `span`.

    Those whose ids all lack, as an answer before has told, are left out. Records before `first_id` are not wanted.
    """
    there = ids.start

    def questions() -> Iterator[ById]:
        for first_id in ids[::most]:
            if first_id + most > there:
                yield ById(first_id)

    def take(question: ById, page: Page) -> _Taken:
        nonlocal there
        there = max(there, page.positions[0] if page else 0)
        # An answer may reach into the ids of the next question, where some lack.
        end = bisect_left(page.positions, question.first_id + most)
        start, wanted = bisect_left(page.positions, first_id), min(end, bisect_right(page.times, span.end_ms))
        over = not page or wanted < end
        part = slice(start, wanted)
        page = Page(page.positions[part], page.times[part], page.keys[part], page.values[part])
        return _Taken(page, share(span.end_ms if over else page.times[-1] if page else span.start_ms), over)

    return questions(), take


def _share(span: TimeRange, number: int, count: int, reached_ms: int) -> float:
    """The share of all that is done where the `number`-th of `count` ranges, `span`, is done up to a time."""
    done = (reached_ms - span.start_ms) / span.length_ms
    return (number + min(1.0, max(0.0, done))) / count


async def _load(ctx: Context[P], chain: PageChain, questions: Iterator[Question], take: _Take) -> bool:
    """Ask the questions, several at once, and write the answers in their order; returns whether one was the last."""
    concurrency = ctx.parameters.concurrency
    pages: deque[tuple[Question, asyncio.Task[Page]]] = deque()
    over = False

    def ask(_: object = None) -> None:
        if over or any(answer.done() and (answer.cancelled() or answer.exception()) for _, answer in pages):
            return
        asked = sum(not answer.done() for _, answer in pages)
        while asked < concurrency and len(pages) < concurrency + WAITING_PAGES:
            if (question := next(questions, None)) is None:
                return
            answer = asyncio.ensure_future(ctx.exchange.page(ctx.series, question))
            answer.add_done_callback(ask)
            pages.append((question, answer))
            asked += 1

    try:
        ask()
        while pages and not over:
            await pages[0][1]
            # What came while the last batch was written goes together: a slow bus gets larger batches.
            answered: list[Page] = []
            share = 0.0
            while pages and not over and len(answered) < BATCH_PAGES and pages[0][1].done():
                question, answer = pages[0]
                if answer.exception():
                    break
                page = answer.result()
                if broken := chain.break_before(page):
                    if answered:
                        break  # what comes before it is written first
                    page = await chain.asked_again(question, broken)
                pages.popleft()
                taken = take(question, page)
                share, over = taken.share, taken.over
                answered.append(chain.passed(page, taken.page))
            writing = asyncio.ensure_future(_write(ctx, answered))
            ask()  # behind it: these records are on their way before the next are made
            await writing
            ctx.progress.share = share
        return over
    finally:
        over = True  # after a cancelled request nothing more is asked for
        for _, answer in pages:
            answer.cancel()
        await asyncio.gather(*(answer for _, answer in pages), return_exceptions=True)


async def _write(ctx: Context[P], pages: Sequence[Page]) -> None:
    """Write the records of `pages`, and note how far they reach."""
    has_ids = not isinstance(ctx.kind.rule(ctx.series), Grid)
    keys = [key for page in pages for key in page.keys]
    await ctx.output.write(MessageColumns(keys, [value for page in pages for value in page.values]))
    for page in pages:
        if page:
            ctx.progress.position = page.times[-1]
            ctx.progress.last_id = page.positions[-1] if has_ids else None


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
