"""The book of a past moment: verified only where the ledger and the diffs say so, without a gap."""

from __future__ import annotations

import pytest

from streamforge_utils.model.books import book_reconstruction
from streamforge_utils.model.books.book_messages import DepthDiff, read_message, read_snapshot
from streamforge_utils.model.books.book_reconstruction import TOO_FAR, UNKNOWN, Leading, PastBook
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.trust import BookInterval, Trust
from tests.doubles.market import START_MS, Market

WORLD = Market(3, 60)
DIFFS = [read_message(WORLD.diff(at, at + 4)) for at in range(11, 60, 5)]


def interval(first_id: int, last_id: int, trust: Trust = Trust.VERIFIED, cause: str = "") -> BookInterval:
    why = "" if trust is Trust.VERIFIED else "out of band"
    times = {"start_ms": START_MS + 100 * first_id, "end_ms": START_MS + 100 * last_id + 1}
    return BookInterval(first_id=first_id, last_id=last_id, trust=trust, why=why, cause=cause, messages=1, **times)


def past(last_id: int, *ledger: BookInterval, lacking: tuple[int, ...] = (), late_ms: int = 0) -> PastBook:
    """The book of the moment of an update, from the whole book after update 10 on. lacking: last ids of diffs."""
    book = OrderBook.of_snapshot(read_snapshot(WORLD.snapshot(10, 1000), 1000))
    diffs = [one for one in DIFFS if isinstance(one, DepthDiff) and one.last_id not in lacking]
    leading = Leading(book, START_MS + 1000, START_MS + 100 * last_id + late_ms)
    leading.hear(diffs)
    return leading.judged(ledger)


def test_a_book_is_led_on_to_the_last_diff_before_the_moment() -> None:
    found = past(30, interval(6, 60))
    assert (found.book.last_id, found.time_ms, found.verified, found.why) == (30, START_MS + 3000, True, "")
    assert past(30, interval(6, 60), late_ms=499).book.last_id == 30
    bids, asks = WORLD.book(30)
    levels = found.book.levels()
    assert [int(float(price)) for price, _ in levels[0]] == sorted(bids, reverse=True)
    assert [int(float(price)) for price, _ in levels[1]] == sorted(asks)
    assert past(10, interval(6, 60)).book.last_id == 10


@pytest.mark.parametrize(
    ("ledger", "lacking", "last_id", "trust", "why"),
    [
        ([interval(6, 60)], (35,), 40, None, "sequence gap"),
        ([interval(6, 30, cause="disconnect"), interval(36, 60)], (35,), 40, None, "disconnect"),
        ([interval(6, 30), interval(31, 60, Trust.UNVERIFIABLE)], (), 40, Trust.UNVERIFIABLE, "out of band"),
        ([interval(6, 20, Trust.SUSPECT), interval(21, 60)], (), 40, Trust.SUSPECT, "out of band"),
        ([interval(6, 20, Trust.UNVERIFIABLE), interval(21, 60, Trust.SUSPECT)], (), 40, Trust.SUSPECT, "out of band"),
        ([interval(6, 20, Trust.SUSPECT), interval(21, 60, Trust.UNVERIFIABLE)], (), 40, Trust.SUSPECT, "out of band"),
        ([interval(6, 30)], (), 40, None, "the ledger does not tell"),
        ([interval(6, 20), interval(31, 60)], (), 40, None, "sequence gap"),
        ([], (), 10, None, "the ledger does not tell"),
        ([interval(6, 60, cause="stopped")], (), 70, None, "stopped"),
        ([interval(6, 60)], (), 70, None, UNKNOWN),
        ([interval(6, 60)], tuple(range(35, 61, 5)), 40, None, UNKNOWN),  # of a segment that is not closed yet
    ],
)
def test_what_is_not_told_is_not_verified(
    ledger: list[BookInterval], lacking: tuple[int, ...], last_id: int, trust: Trust | None, why: str
) -> None:
    found = past(last_id, *ledger, lacking=lacking)
    assert (found.verified, found.trust, found.why) == (False, trust, why)


def test_the_last_moment_of_the_ledger_is_verified_and_none_behind_it() -> None:
    assert past(60, interval(6, 60)).verified
    assert past(60, interval(6, 60), late_ms=1).why == UNKNOWN


def test_the_order_of_diffs_and_what_is_doubled_make_no_difference() -> None:
    leading = Leading(OrderBook.of_snapshot(read_snapshot(WORLD.snapshot(10, 1000), 1000)), START_MS, START_MS + 4_000)
    shuffled = [DIFFS[at] for at in (2, 0, 1, 1, 0, 4, 4, 5, 3, 9, 6, 7, 8)]
    leading.hear(one for one in shuffled if isinstance(one, DepthDiff))
    found = leading.judged([interval(6, 60)])
    assert (found.book.last_id, found.diffs, found.trust, found.why) == (40, 6, Trust.VERIFIED, "")


def test_so_many_diffs_are_taken_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_reconstruction, "MOST_DIFFS", 3)
    found = past(60, interval(6, 60))
    assert (found.book.last_id, found.trust, found.why) == (25, None, TOO_FAR)


def test_behind_a_gap_so_many_are_held_until_it_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_reconstruction, "_MOST_AHEAD", 4)
    late = [one for one in DIFFS if isinstance(one, DepthDiff)]
    late.insert(3, late.pop(0))
    book = OrderBook.of_snapshot(read_snapshot(WORLD.snapshot(10, 1000), 1000))
    leading = Leading(book, START_MS, START_MS + 6_000)
    leading.hear(late)
    assert (book.last_id, leading.is_stuck) == (60, False)
    late = late[1:]
    book = OrderBook.of_snapshot(read_snapshot(WORLD.snapshot(10, 1000), 1000))
    leading = Leading(book, START_MS, START_MS + 6_000)
    leading.hear(late)
    assert (book.last_id, leading.is_stuck) == (15, True)
