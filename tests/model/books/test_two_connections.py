"""A book that two connections feed for a while: they cut the same updates differently, and either may be ahead."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge_utils.model.books.book_messages import BookTicker
from streamforge_utils.model.books.trust import Cause
from tests.doubles import market
from tests.doubles.bookfollower import CLEAN, SUSPECT, VERIFIED, Follower, run
from tests.doubles.market import SYMBOL, Market

GAP = [(6, 9, VERIFIED, "", "sequence gap"), (13, 22, SUSPECT, "sequence gap", "")]


def followed() -> Follower:
    """A verified book up to 9, and a second connection that begins with 13."""
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.diff(13, 16, connection=2)
    assert (follower.book.standing.trust, follower.ids()) == (VERIFIED, [5, 9])
    follower.check()
    return follower


def test_a_connection_that_begins_ahead_of_the_one_before_it_makes_no_gap() -> None:
    follower = followed()
    follower.ticker(16)
    follower.diff(17, 22, connection=2)
    follower.diff(10, 11)
    follower.check()
    follower.diff(12, 18)
    follower.check()
    assert follower.trust[1:] == [(6, 22, VERIFIED, "", "")]
    assert follower.ids() == [5, 9, 11, 18, 22]
    assert follower.book.wanted(follower.now_ms) is None
    follower.diff(23, 24, connection=2)
    assert follower.ids()[-1] == 24


def test_the_best_prices_of_the_connection_that_is_ahead_witness_the_book_once_it_is_there() -> None:
    follower = followed()
    bid, ask = follower.world.best(16)
    follower.book.hear_ticker(BookTicker(16, SYMBOL, bid, 0.5, ask, 0.5))
    follower.diff(10, 12)
    assert follower.book.standing.why == Cause.WITNESS
    assert follower.trust[-1][2:4] == (SUSPECT, "witness differs")


@pytest.mark.parametrize(("first_id", "last_id", "gap_end"), [(12, 18, 12), (14, 18, 13), (17, 22, 13)])
def test_what_the_connection_before_has_passed_too_lacks_at_once(first_id: int, last_id: int, gap_end: int) -> None:
    follower = followed()
    follower.diff(first_id, last_id)
    follower.diff(17, 22, connection=2)
    assert follower.trust[1:] == [GAP[0], (gap_end, 22, SUSPECT, "sequence gap", "")]
    follower.snapshot(gap_end - 1)
    follower.check()
    assert follower.trust[-1] == (gap_end, 22, VERIFIED, "", "")


def test_a_connection_that_gives_nothing_more_is_not_waited_for_long() -> None:
    follower = followed()
    follower.now_ms += 4_999
    follower.diff(17, 19, connection=2)
    assert follower.ids() == [5, 9]
    follower.now_ms += 1
    follower.diff(20, 22, connection=2)
    assert follower.trust[1:] == GAP
    assert follower.ids() == [5, 9, 16, 19, 22]


def test_what_waits_is_bounded() -> None:
    follower = run((1, 5), (6, 9), snapshot=5, early_diffs=2)
    for first_id, last_id in ((13, 16), (17, 19)):
        follower.diff(first_id, last_id, connection=2)
    assert follower.ids() == [5, 9]
    follower.diff(20, 22, connection=2)
    assert follower.trust[1:] == GAP


def test_much_that_waited_is_heard_together() -> None:
    follower = Follower(Market(7, 1500))
    follower.diff(1, 9)
    for last_id in range(13, 1500):
        follower.diff(last_id, last_id, connection=2)
    follower.diff(10, 12)
    follower.snapshot(12)
    follower.check()
    assert follower.trust == [(1, 12, CLEAN, "awaiting snapshot", ""), (13, 1499, VERIFIED, "", "")]


def test_what_waits_is_heard_when_the_connection_before_ends_or_a_message_cannot_be_read_or_all_stops() -> None:
    follower = followed()
    follower.book.interrupted(Cause.DISCONNECT)
    assert follower.trust[1:] == [(6, 9, VERIFIED, "", "disconnect"), (13, 16, CLEAN, "disconnect", "")]
    follower.diff(18, 19, connection=2)  # more may be lost from then on
    assert follower.trust[3:] == [(18, 19, CLEAN, "disconnect", "")]
    follower = followed()
    follower.diff(0, 0, market.message(10, 12, [("1.00000000", "-1.00000000")], []))
    assert follower.trust[1:] == [(6, 9, VERIFIED, "", "bad content"), (13, 16, SUSPECT, "bad content", "")]
    follower = followed()
    follower.book.stop()
    assert follower.trust[1:] == [(6, 9, VERIFIED, "", "sequence gap"), (13, 16, SUSPECT, "sequence gap", "stopped")]


def test_only_the_beginning_of_a_connection_waits() -> None:
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.diff(8, 9, connection=2)
    follower.diff(13, 22, connection=2)
    assert follower.trust[1:] == GAP
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.book.interrupted(Cause.DISCONNECT)
    follower.diff(13, 22, connection=2)
    assert follower.trust[1:] == [(6, 9, VERIFIED, "", "disconnect"), (13, 22, CLEAN, "disconnect", "")]


@settings(max_examples=60)
@given(st.integers(0, 10**4), st.integers(30, 200), st.integers(0, 60), st.lists(st.booleans(), max_size=80))
def test_however_two_whole_connections_mix_all_is_verified(
    seed: int, begins: int, before: int, turns: list[bool]
) -> None:
    world = Market(seed, 300, first_price=60)
    follower = Follower(world)
    older, younger = ([*world.batches(seed + one)] for one in (0, 1))
    younger = [(max(first, begins), last) for first, last in younger if last >= begins]

    def hear(left: list[tuple[int, int]], connection: int) -> None:
        first_id, last_id = left.pop(0)
        follower.diff(first_id, last_id, connection=connection)
        follower.check()
        follower.ticker(max(1, last_id - seed % 3))
        follower.check()

    hear(older, 1)
    follower.snapshot(1)
    while older[0][1] < max(begins - before, 9):
        hear(older, 1)
    for turn in turns:
        if younger and (turn or not older):
            hear(younger, 2)
        elif older:
            hear(older, 1)
    while older and older[0][0] < begins:  # what came before the younger one began
        hear(older, 1)
    while younger:
        hear(younger, 2)
    *clean, verified = follower.trust
    assert clean in ([], [(1, 1, CLEAN, "awaiting snapshot", "")])
    assert verified == (1 + len(clean), 300, VERIFIED, "", "")
