"""The seeded book: what diffs and tickers say of it is what it is."""

from __future__ import annotations

from bisect import bisect_right

import msgspec
import pytest

from streamforge.exchange.config import DEFAULT_SYMBOLS, SymbolSpec
from streamforge.exchange.made_up_symbols import made_up_symbols
from streamforge.exchange.prices import PricePath
from streamforge.exchange.seeded_book import SeededBook
from streamforge_utils.model.timeranges import TimeRange
from tests.exchange.books import Json, PlainBook, chained
from tests.exchange.conftest import HOUR, MINUTE, NOW

BTC, CHEAP = DEFAULT_SYMBOLS[0], DEFAULT_SYMBOLS[4]
SLOT = 100
SPECS = [BTC, CHEAP, *list(made_up_symbols(3))[1:]]

Sides = tuple[list[list[str]], list[list[str]]]


def plain(book: SeededBook, time_ms: int) -> PlainBook:
    found = book.snapshot(time_ms)
    return PlainBook({"lastUpdateId": found.update_id, "bids": found.bids, "asks": found.asks})


def sides(book: SeededBook, update_id: int, levels: int | None = None) -> Sides:
    state = book.state(update_id, levels)
    assert state is not None
    return [list(level) for level in state.bids], [list(level) for level in state.asks]


def diffs(book: SeededBook, begin_ms: int, end_ms: int, phase_ms: int = 0, step_ms: int = SLOT) -> list[Json]:
    return [msgspec.json.decode(one.data) for one in book.diffs(begin_ms, end_ms, step_ms, phase_ms)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.base)
@pytest.mark.parametrize(("phase_ms", "step_ms"), [(0, SLOT), (37, SLOT), (370, 1_000)])
def test_a_snapshot_and_its_diffs_give_the_book_after_each_diff(spec: SymbolSpec, phase_ms: int, step_ms: int) -> None:
    book = SeededBook(3, spec, ())
    kept = plain(book, NOW - MINUTE)
    found = diffs(book, NOW - MINUTE, NOW, phase_ms, step_ms)
    for number, diff in enumerate(found):
        kept.apply(diff)
        levels = None if number % 100 == 99 else 20
        assert kept.sides(levels) == sides(book, kept.last, levels)
    assert chained(found)
    assert len(found) > 55_000 // step_ms
    assert book.update_at(NOW - step_ms) <= kept.last <= book.update_at(NOW)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.base)
def test_the_best_levels_never_cross_and_are_told_whenever_they_change(spec: SymbolSpec) -> None:
    book = SeededBook(3, spec, ())
    tickers = [msgspec.json.decode(one.data) for one in book.tickers(NOW, NOW + 20_000)]
    first, last = book.update_at(NOW), book.update_at(NOW + 20_000)
    told = [one["u"] for one in tickers]
    assert told == sorted(told)
    assert first < told[0] <= told[-1] <= last
    for update_id in range(told[0], last + 1):
        ticker = tickers[bisect_right(told, update_id) - 1]
        assert sides(book, update_id, 1) == ([[ticker["b"], ticker["B"]]], [[ticker["a"], ticker["A"]]])
        assert 0 < float(ticker["b"]) < float(ticker["a"])
        assert float(ticker["B"]) > 0 < float(ticker["A"])
    assert all(one != other | {"u": one["u"]} for one, other in zip(tickers[1:], tickers, strict=False))
    assert len(tickers) > 100


def test_updates_rise_with_time_some_to_a_slot_and_are_found_by_their_time() -> None:
    book = SeededBook(3, BTC, ())
    ids = range(book.update_at(NOW) + 1, book.update_at(NOW + MINUTE) + 1)
    times = [book.time_ms(update_id) for update_id in ids]
    assert times == sorted(set(times))
    assert NOW < times[0] <= times[-1] <= NOW + MINUTE
    for update_id, time_ms in zip(ids, times, strict=True):
        assert (book.update_at(time_ms), book.update_at(time_ms - 1)) == (update_id, update_id - 1)
    slots = [time_ms // SLOT for time_ms in times]
    counts = {slot: slots.count(slot) for slot in slots}
    assert {max(counts.values()), min(counts.values())} == {15, 1}
    assert len(counts) < MINUTE // SLOT, "in some nothing happens"


def test_the_same_seed_gives_the_same_book_and_another_seed_another() -> None:
    def of(seed: int, spec: SymbolSpec = BTC) -> Sides:
        return sides(SeededBook(seed, spec, ()), SeededBook(seed, spec, ()).update_at(NOW), 50)

    assert of(1) == of(1)
    assert of(1) != of(2)
    assert of(1) != of(1, msgspec.structs.replace(BTC, symbol="XBTUSDT"))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.base)
def test_the_middle_is_at_the_price_and_the_book_is_deeper_than_a_snapshot(spec: SymbolSpec) -> None:
    book = SeededBook(1, spec, ())
    minute = NOW // MINUTE
    opened = PricePath(1, spec).minute(minute).open * 10**-spec.price_decimals
    bids, asks = sides(book, book.update_at(minute * MINUTE))
    assert float(bids[0][0]) == pytest.approx(opened, rel=0.004)
    assert len(asks) > 2_000
    assert len(bids) > 2_000
    ticks = [float(price) * 10**spec.price_decimals for price, _ in bids + asks]
    assert all(tick == pytest.approx(round(tick), abs=1e-3) for tick in ticks)
    assert len(set(ticks)) == len(ticks)


@pytest.mark.parametrize(("levels", "minutes"), [(1_000, 120), (100, 5)])
def test_the_price_walks_out_of_a_snapshot(levels: int, minutes: int) -> None:
    book = SeededBook(1, BTC, ())
    bids, asks = sides(book, book.update_at(NOW), levels)
    low, high = float(bids[-1][0]), float(asks[-1][0])
    bests = [float(book.snapshot(NOW + minute * MINUTE, 1).bids[0][0]) for minute in range(minutes)]
    assert any(not low < best < high for best in bests)


def test_downtime_has_no_updates_and_leaves_no_gap_in_their_ids() -> None:
    hole = TimeRange(NOW - HOUR, NOW - MINUTE)
    book = SeededBook(1, BTC, (hole, TimeRange(NOW - HOUR // 2, NOW - 2 * MINUTE)))
    assert book.update_at(hole.start_ms - 1) == book.update_at(hole.end_ms - 1)
    found = diffs(book, hole.start_ms - MINUTE, hole.end_ms + MINUTE)
    assert chained(found)
    assert [one["E"] for one in found if hole.start_ms <= one["E"] - SLOT < hole.end_ms - SLOT] == []
    kept = plain(book, hole.start_ms - MINUTE)
    for diff in found:
        kept.apply(diff)
    assert kept.sides() == sides(book, book.update_at(hole.end_ms + MINUTE))
    assert kept.last > book.update_at(hole.end_ms)
    assert book.time_ms(book.update_at(hole.end_ms) + 1) >= hole.end_ms
    later = SeededBook(1, BTC, ())
    assert book.update_at(NOW) < later.update_at(NOW)


def test_a_book_begins_with_the_listing_and_ends_with_the_delisting() -> None:
    spec = msgspec.structs.replace(BTC, listed_ms=NOW, delisted_ms=NOW + MINUTE)
    book = SeededBook(1, spec, ())
    times = [one["E"] for one in diffs(book, NOW - MINUTE, NOW + 2 * MINUTE)]
    assert NOW < times[0] <= NOW + 500
    assert NOW + MINUTE - 500 < times[-1] <= NOW + MINUTE
    assert book.state(book.update_at(NOW - 1)) is None
    assert book.state(book.update_at(NOW + MINUTE)) is not None
    assert book.state(book.update_at(NOW + MINUTE) + 1) is None
    assert all(NOW < one.time_ms < NOW + MINUTE for one in book.tickers(NOW - MINUTE, NOW + 2 * MINUTE))
