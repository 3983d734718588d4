"""What is read is what was proven, or it is an error that names what is lacking."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.exports import records as record_reader
from streamforge.manager.exports.records import RecordReader
from streamforge.manager.use_cases import Incomplete
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.candles import Interval
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.store import Document
from tests.doubles.candles import candle_key
from tests.doubles.memorystore import MemoryStore
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS

C = "collection"
SERIES = Series("BTCUSDT", "candles", "1m")


def minutes(*numbers: int) -> list[int]:
    return [DAY_START + number * MINUTE_MS for number in numbers]


def key(minute: int) -> str:
    return candle_key("BTCUSDT", "1m", *minutes(minute))


def span(first: int, last: int) -> TimeRange:
    return TimeRange(*minutes(first, last))


class Kept:
    """A store with some minutes of BTCUSDT, and of another series before and behind it."""

    def __init__(self, there: Sequence[int], proven: Sequence[tuple[int, int]]) -> None:
        self.store = MemoryStore()
        self.coverage = CoverageStore(self.store)
        self.proven = proven
        self.put(SERIES, minutes(*there))
        for symbol in ("AAAUSDT", "ZZZUSDT"):
            self.put(Series(symbol, "candles", "1m"), minutes(0, 1))

    def put(self, series: Series, opens: Sequence[int]) -> None:
        for one in (candle_key(series.symbol, series.interval, time) for time in opens):
            self.store.documents.setdefault(C, {})[one] = Document(one, 1, b"{}")

    async def read(
        self,
        *,
        of: TimeRange | None = None,
        after: str | None = None,
        limit: int = sys.maxsize,
        whole: bool = False,
        series: Series | None = None,
    ) -> list[int]:
        """The minutes of BTCUSDT that are read."""
        segments = [
            Segment(start_ms=s.start_ms, end_ms=s.end_ms, verdict=Verdict.STORED, collection=C)
            for s in (span(*one) for one in self.proven)
        ]
        await self.coverage.lay_over(SERIES, segments)
        source = RecordReader(self.store, self.coverage).read(
            C, span=of, after=after, limit=limit, whole=whole, series=series
        )
        keys = [key for batch in [b async for b in source] for key, _ in batch]
        assert series is None or all(key.startswith("BTCUSDT_1m_") for key in keys), "nothing of another series"
        return [(int(key[-13:]) - DAY_START) // MINUTE_MS for key in keys if key.startswith("BTCUSDT_1m_")]


@pytest.fixture(autouse=True, params=[1, 3, 5000])
def _batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_reader, "BATCH", request.param)


@pytest.mark.parametrize("whole", [True, False])
async def test_what_is_there_is_read_whatever_the_range_and_the_page(whole: bool) -> None:
    kept = Kept(range(10), [(0, 4), (4, 8)])
    elsewhere = Segment(start_ms=minutes(10)[0], end_ms=minutes(99)[0], verdict=Verdict.STORED, collection="other")
    await kept.coverage.lay_over(SERIES, [elsewhere])  # a collection owes nothing of what lies in another
    assert await kept.read(whole=whole) == list(range(10)), "also what nobody has proven"
    assert await kept.read(of=span(2, 6), whole=whole) == [2, 3, 4, 5]
    assert await kept.read(of=span(20, 30), whole=whole) == []
    assert await kept.read(of=span(2, 6), after=key(3), whole=whole) == [4, 5]
    assert await kept.read(after=key(6), limit=2, whole=whole) == [7, 8]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("gone", [0, 3, 9])
async def test_one_record_too_few_is_an_error_that_names_it(gone: int, whole: bool) -> None:
    kept = Kept([n for n in range(10) if n != gone], [(0, 10)])
    for of in (None, span(0, 10), span(gone, gone + 1)):
        with pytest.raises(Incomplete, match="BTCUSDT api_candles_1m") as refused:
            await kept.read(of=of, whole=whole)
        assert "1 of " in str(refused.value)
        assert "than were proven: " in str(refused.value)


async def test_what_is_looked_at_first_is_told_by_range() -> None:
    kept = Kept([0, 1, 4, 5], [(0, 4), (4, 6), (6, 9)])
    with pytest.raises(Incomplete) as refused:
        await kept.read(whole=True)
    assert "2024-08-01:2024-08-01T00:09Z lacks 5 of 9" in str(refused.value)


async def test_a_part_that_lacks_nothing_can_be_read() -> None:
    kept = Kept([0, 1, 2, 3, 5, 6, 7], [(0, 8)])
    for whole in (True, False):
        assert await kept.read(of=span(0, 4), whole=whole) == [0, 1, 2, 3]
        assert await kept.read(of=span(5, 8), whole=whole) == [5, 6, 7]
        assert await kept.read(after=key(4), whole=whole) == [5, 6, 7]


@pytest.mark.parametrize("whole", [True, False])
async def test_nothing_left_is_an_error_too(whole: bool) -> None:
    kept = Kept([], [(0, 8)])
    for of in (None, span(2, 3)):
        with pytest.raises(Incomplete):
            await kept.read(of=of, whole=whole)
    kept.store.documents.clear()
    for of in (None, span(2, 3)):
        for limit in (1, 9):
            with pytest.raises(Incomplete):
                await kept.read(of=of, whole=whole, limit=limit)


async def test_records_beside_the_grid_make_up_for_none() -> None:
    kept = Kept([0, 1, 2, 3], [(0, 5)])
    kept.put(SERIES, [minutes(2)[0] + 1])
    with pytest.raises(Incomplete, match="1 of "):
        await kept.read()


async def test_what_goes_while_it_is_read_is_an_error() -> None:
    kept = Kept(range(10), [(0, 10)])
    read = kept.store.read

    async def removing(*args: object, **more: object) -> object:
        page = await read(*args, **more)  # type: ignore[arg-type]
        kept.store.documents[C].pop(key(9), None)
        return page

    kept.store.read = removing  # type: ignore[method-assign, assignment]
    if record_reader.BATCH == 5000:
        assert await kept.read(whole=True) == list(range(10)), "all of it was read before"
        return
    with pytest.raises(Incomplete, match="the first at 2024-08-01T00:09Z"):
        await kept.read(whole=True)


async def test_a_page_owes_nothing_of_what_lies_behind_it() -> None:
    kept = Kept([0, 1, 2, 4, 5], [(0, 6)])
    assert await kept.read(after=key(-1), limit=3) == [0, 1, 2]
    with pytest.raises(Incomplete):
        await kept.read(after=key(-1), limit=4)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("of", "after"), [(None, None), (span(6, 9), None), (None, 4), (span(2, 9), 3)], ids=["all", "of", "after", "both"]
)
async def test_a_range_lacks_what_it_lacks_whatever_lies_before_it(
    of: TimeRange | None, after: int | None, whole: bool
) -> None:
    kept = Kept([0, 1, 2, 3, 6, 8], [(0, 4), (6, 9)])
    elsewhere = Segment(start_ms=DAY_START, end_ms=DAY_START + MINUTE_MS, verdict=Verdict.STORED, collection="other")
    for symbol in ("AAAUSDT", "ZZZUSDT"):
        await kept.coverage.lay_over(Series(symbol, "candles", "1m"), [elsewhere])
    behind = None if after is None else key(after)
    with pytest.raises(Incomplete, match="T00:09Z lacks 1 of 3$" if whole else "the first at 2024-08-01T00:07Z$"):
        await kept.read(of=of, after=behind, whole=whole)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("of", [None, span(0, 9)])
async def test_a_series_owes_nothing_of_what_others_lack_in_the_same_collection(
    of: TimeRange | None, whole: bool
) -> None:
    kept = Kept([0, 1, 2], [(0, 3)])
    for symbol in ("AAAUSDT", "ZZZUSDT"):
        lacking = Segment(start_ms=minutes(0)[0], end_ms=minutes(3)[0], verdict=Verdict.STORED, collection=C)
        await kept.coverage.lay_over(Series(symbol, "candles", "1m"), [lacking])
    assert await kept.read(of=of, whole=whole, series=SERIES) == [0, 1, 2]
    assert await kept.read(of=of, whole=whole, series=SERIES, limit=2) == [0, 1]
    with pytest.raises(Incomplete, match=r"records of (AAA|ZZZ)USDT api_candles_1m than were proven"):
        await kept.read(of=of, whole=whole)
    kept.store.documents[C].pop(key(2))
    with pytest.raises(Incomplete, match="records of BTCUSDT api_candles_1m than were proven"):
        await kept.read(of=of, whole=whole, series=SERIES)


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (1, "2024-08-01:2024-08-01T00:01Z lacks 1 of 1"),
        (5, "T00:01Z lacks 1 of 1; 2024-08-01T00:02Z:2024-08-01T00:03Z lacks 1 of 1; "),
        (7, "2024-08-01T00:08Z:2024-08-01T00:09Z lacks 1 of 1 and 2 more ranges"),
    ],
)
async def test_the_first_ranges_that_lack_records_are_told(ranges: int, said: str) -> None:
    kept = Kept([], [(2 * n, 2 * n + 1) for n in range(ranges)])
    with pytest.raises(Incomplete) as refused:
        await kept.read(whole=True)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{C} holds fewer records of BTCUSDT api_candles_1m than were proven: 2024-")
    assert str(refused.value).endswith(f"lacks 1 of 1{' and 2 more ranges' * (ranges == 7)}")


async def test_what_is_found_lacking_while_it_is_read_is_told_by_time() -> None:
    kept = Kept([0, 2], [(0, 3)])
    with pytest.raises(Incomplete) as refused:
        await kept.read(after=key(0))
    assert str(refused.value) == (
        "the collection holds fewer records of BTCUSDT api_candles_1m than were proven: between "
        "2024-08-01T00:01Z and 2024-08-01T00:02Z 1 of 2 lack, the first at 2024-08-01T00:01Z"
    )
    assert (refused.value.symbol, refused.value.type) == ("BTCUSDT", "api_candles_1m")


async def test_keys_that_begin_with_another_are_read_too() -> None:
    store = MemoryStore()
    keys = ["A", "AB", "AC", "B"]
    store.documents[C] = {key: Document(key, 1, b"{}") for key in keys}
    for after, left in ((None, keys), ("A", keys[1:])):
        source = RecordReader(store, CoverageStore(store)).read(C, span=None, after=after, limit=9, whole=False)
        assert [key for batch in [b async for b in source] for key, _ in batch] == left


async def test_of_series_whose_names_begin_alike_each_is_read_in_the_range() -> None:
    kept = Kept([0, 1, 2], [])
    for symbol in ("BNBUSDT", "BTCEUR"):
        kept.put(Series(symbol, "candles", "1m"), minutes(0, 1, 2))
    source = RecordReader(kept.store, kept.coverage).read(C, span=span(1, 2), after=None, limit=99, whole=False)
    found = [key for batch in [b async for b in source] for key, _ in batch]
    symbols = ["AAAUSDT", "BNBUSDT", "BTCEUR", "BTCUSDT", "ZZZUSDT"]
    assert found == [candle_key(symbol, "1m", minutes(1)[0]) for symbol in symbols]


async def test_bars_of_three_days_are_counted_on_their_own_grid() -> None:
    series, kept = Series("BTCUSDT", "candles", Interval.D3.value), Kept([], [])
    opens = [DAY_START + DAY_MS + n * 3 * DAY_MS for n in range(5)]
    kept.put(series, opens)
    stored = Segment(start_ms=DAY_START, end_ms=opens[-1] + DAY_MS, verdict=Verdict.STORED, collection=C)
    await kept.coverage.prove(series, [stored], opens[0], 0)
    source = RecordReader(kept.store, kept.coverage)
    found = [b async for b in source.read(C, span=None, after=None, limit=99, whole=True)]
    assert sum(map(len, found)) == 5 + 4
    del kept.store.documents[C][candle_key("BTCUSDT", "3d", opens[2])]
    for whole in (True, False):
        with pytest.raises(Incomplete, match="1 of "):
            [b async for b in source.read(C, span=None, after=None, limit=99, whole=whole)]
