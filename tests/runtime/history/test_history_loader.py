"""A loader of records with ids: each record once, and no more requests than it needs."""

from __future__ import annotations

from itertools import count as count_from
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from streamforge_utils.model.completeness import Sequence
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import ById, ByTime, Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.history.history_loader import HistoryParameters, load_history

MOST = 10
START_MS = 1_722_470_400_000
TORN = b"torn"


class Ticks:
    """An exchange with a record every second, whose id is the second.

    silent: so many answers are empty first. lacking: ids without a record.
    """

    def __init__(self, silent: int = 0, lacking: range = range(0)) -> None:
        self.lacking = lacking
        self.asked: list[Question] = []
        self.silent = silent
        self.now_ms = 0

    async def server_time(self) -> int:
        return self.now_ms

    async def page(self, series: Any, question: Question) -> Page:
        self.asked.append(question)
        if len(self.asked) <= self.silent:
            return Page((), (), (), ())
        if isinstance(question, ByTime):
            first, count = -(-(question.span.start_ms - START_MS) // 1000), question.limit or MOST
        else:
            first, count = question.first_id, question.limit or MOST
        known = (number for number in count_from(max(0, first)) if number not in self.lacking)
        ids = list(islice(known, count))
        texts = [b"%d" % number for number in ids]
        return Page(ids, [START_MS + 1000 * number for number in ids], texts, texts)


@pytest.mark.parametrize(
    ("seconds", "to_now", "by_id", "by_time", "silent"),
    [
        (1, False, 1, 1, 0),
        (1, False, 1, 2, 1),  # an empty answer is not believed at once
        (MOST - 3, False, 1, 1, 0),
        (3 * MOST, False, 4, 2, 0),  # what follows the range is asked for, so that no question goes beyond it
        (2 * MOST - 1, False, 2, 2, 0),
        (3 * MOST, True, None, 1, 0),  # nothing follows yet: questions go on until an answer is beyond the range
    ],
)
async def test_a_range_by_ids_is_loaded_whole_by_the_requests_that_it_needs(
    seconds: int, to_now: bool, by_id: int | None, by_time: int, silent: int
) -> None:
    exchange = Ticks(silent)
    assert await loaded(exchange, seconds, to_now=to_now) == [*range(5, 5 + seconds + 1)]  # the one at its end as well
    assert by_id in (None, sum(isinstance(question, ById) for question in exchange.asked))
    assert sum(isinstance(question, ByTime) for question in exchange.asked) == by_time


async def test_ids_that_all_lack_are_not_asked_for_page_by_page() -> None:
    exchange = Ticks(lacking=range(4 * MOST, 1000 * MOST))
    written = await loaded(exchange, 1001 * MOST)
    assert written == [*range(5, 4 * MOST), *range(1000 * MOST, 1001 * MOST + 6)]
    assert len(exchange.asked) < 40


@pytest.mark.parametrize(("first_id", "seconds", "by_time"), [(8, 6, 0), (12, 3 * MOST, 1), (11, 5, 0)])
async def test_what_is_there_is_not_asked_for_again(first_id: int, seconds: int, by_time: int) -> None:
    exchange = Ticks()
    assert await loaded(exchange, seconds, first_id=first_id) == [*range(first_id, 5 + seconds + 1)]
    assert exchange.asked[0] == ById(first_id)
    assert sum(isinstance(question, ByTime) for question in exchange.asked) == by_time


class Torn(Ticks):
    """Says of the record `number` wrongly which one is beside it, in so many answers that begin or end with it."""

    def __init__(self, number: int, times: int) -> None:
        super().__init__()
        self.number, self.times = number, times

    async def page(self, series: Any, question: Question) -> Page:
        page = await super().page(series, question)
        ends = () if isinstance(question, ByTime) else (page.positions[0], page.positions[-1])
        if self.times == 0 or self.number not in ends:
            return page
        self.times -= 1
        texts = [TORN if number == self.number else b"%d" % number for number in page.positions]
        return Page(page.positions, page.times, texts, texts)


FIRST_OF_SECOND = 4 + MOST
"""The fifth record is asked for with the one before it."""


@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("number", [4, 5, FIRST_OF_SECOND - 1, FIRST_OF_SECOND, FIRST_OF_SECOND + MOST])
async def test_a_record_that_does_not_meet_its_neighbour_in_another_answer_is_asked_for_again(
    number: int, times: int
) -> None:
    assert await loaded(Torn(number, times), 3 * MOST, chained=True) == [*range(5, 5 + 3 * MOST + 1)]
    assert await loaded(Torn(number, times), 3 * MOST, chained=True, first_id=8) == [*range(8, 5 + 3 * MOST + 1)]


@pytest.mark.parametrize("number", [FIRST_OF_SECOND - 1, FIRST_OF_SECOND])
async def test_where_two_answers_never_meet_the_load_fails_and_none_of_the_two_records_is_written(number: int) -> None:
    written: list[bytes] = []
    with pytest.raises(RetryableError, match=f"X from id {FIRST_OF_SECOND}: torn, also when it is asked again 3 times"):
        await loaded(Torn(number, 99), 3 * MOST, chained=True, written=written)
    assert written == [b"%d" % number for number in range(5, FIRST_OF_SECOND - 1)]


async def loaded(
    exchange: Ticks,
    seconds: int,
    *,
    to_now: bool = False,
    first_id: int | None = None,
    chained: bool = False,
    written: list[bytes] | None = None,
) -> list[int]:
    """What is written of so many seconds from the fifth on."""
    written = [] if written is None else written

    async def write(records: MessageColumns) -> None:
        written.extend(message.value for message in records)

    span = TimeRange(START_MS + 5000, START_MS + 5000 + seconds * 1000)
    exchange.now_ms = span.end_ms + (0 if to_now else 1_000_000)
    ctx: Any = SimpleNamespace(
        exchange=exchange,
        ranges=(span,),
        series=Series("X", "ticks"),
        type="api_ticks",
        kind=SimpleNamespace(
            name="ticks",
            paging=SimpleNamespace(most=MOST),
            rule=lambda series: Sequence(),
            chained=chained,
            break_between=lambda *pair: "torn" if TORN in pair else "",
        ),
        first_id=first_id,
        parameters=HistoryParameters(),
        output=SimpleNamespace(write=write),
        progress=SimpleNamespace(position=None, share=None, last_id=None),
    )
    await load_history(ctx)
    assert ctx.progress.last_id == (int(written[-1]) if written else None)
    assert ctx.progress.share == 1.0
    return [int(value) for value in written]
