"""What makes a book doubtful: lost messages, bad ones, crossed prices, a witness that differs."""

from __future__ import annotations

import pytest

from streamforge_utils.model.books.book_messages import BookTicker
from streamforge_utils.model.books.records import DepthTop
from streamforge_utils.model.books.trust import BookLedger, Cause, Standing
from streamforge_utils.model.completeness.continuity import chains
from tests.doubles import market
from tests.doubles.bookfollower import CLEAN, LIMIT, SUSPECT, VERIFIED, WORLD, Follower, run
from tests.doubles.market import START_MS, SYMBOL, text


def test_messages_that_lack_end_the_chain_and_make_what_follows_suspect_until_a_snapshot() -> None:
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.diff(12, 14)
    assert follower.book.standing.trust is SUSPECT
    assert follower.book.wanted(follower.now_ms) is not None
    follower.diff(15, 20)
    follower.snapshot(16)
    follower.check()
    assert follower.trust == [
        (1, 5, CLEAN, "awaiting snapshot", ""),
        (6, 9, VERIFIED, "", "sequence gap"),
        (12, 14, SUSPECT, "sequence gap", ""),
        (15, 20, VERIFIED, "", ""),
    ]


def test_a_message_that_comes_late_says_what_lacked() -> None:
    follower = run((1, 5), (6, 9), snapshot=5)
    for first_id, last_id in ((14, 16), (10, 11), (12, 13), (12, 13), (10, 11)):
        follower.diff(first_id, last_id)
    assert [(one.first_id, one.last_id) for one in chains(follower.told)] == [(1, 16)]
    assert follower.ids() == [5, 9, 16, 11, 13]
    assert follower.book.standing.trust is SUSPECT
    follower.snapshot(15)
    follower.check()


@pytest.mark.parametrize("cause", [Cause.DISCONNECT, Cause.SLOW])
def test_an_interruption_without_loss_ends_nothing_and_with_loss_names_its_cause(cause: Cause) -> None:
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.book.interrupted(cause)
    assert (follower.book.standing.trust, follower.book.standing.why) == (CLEAN, cause)
    follower.diff(8, 12)
    assert follower.book.standing.trust is VERIFIED
    follower.book.interrupted(cause)
    follower.diff(14, 15)
    assert follower.trust[1:] == [(6, 12, VERIFIED, "", cause), (14, 15, CLEAN, cause, "")]
    follower.snapshot(13)
    follower.check()
    assert follower.trust[-1] == (14, 15, VERIFIED, "", "")


@pytest.mark.parametrize(
    "payload",
    [
        market.message(10, 11, [("1.00000000", "-1.00000000")], []),
        market.message(10, 11, [("0.00000000", "1.00000000")], []),
        market.message(10, 11, [], [], E=START_MS * 1000),
    ],
)
def test_a_message_that_cannot_be_true_is_refused_and_makes_suspect(payload: bytes) -> None:
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.diff(0, 0, payload)
    assert len(follower.refused) == 1
    assert (follower.book.standing.trust, follower.book.standing.why) == (SUSPECT, "bad content")
    follower.diff(12, 14)
    assert follower.trust[1:] == [(6, 9, VERIFIED, "", "bad content"), (12, 14, SUSPECT, "bad content", "")]
    assert follower.ids() == [5, 9, 14]


def test_the_same_content_of_another_connection_makes_up_for_a_bad_message() -> None:
    follower = run((1, 5), (6, 9), snapshot=5)
    follower.diff(0, 0, market.message(10, 11, [("1.00000000", "-1.00000000")], []))
    follower.diff(8, 12)
    follower.check()
    assert follower.trust[1:] == [(6, 12, VERIFIED, "", "")]


def test_a_crossed_book_is_suspect_since_it_last_agreed_with_a_witness() -> None:
    follower = run((1, 5), (6, 30), snapshot=5)
    follower.ticker(30)
    assert follower.book.agreed == 1
    follower.diff(31, 60)
    best_ask = int(WORLD.best(60)[1])
    follower.diff(0, 0, market.message(61, 61, [(text(best_ask), text(1))], []))
    assert follower.book.standing.trust is SUSPECT
    follower.diff(62, 70)
    agreed = (6, 30, VERIFIED, "", "")
    assert follower.trust[1:] == [agreed, (31, 70, SUSPECT, "crossed", "")]
    follower.snapshot(60)  # the message that crosses lies behind it
    assert (follower.book.standing.trust, follower.book.useless) == (SUSPECT, 1)
    follower.snapshot(65)
    follower.check()
    assert follower.trust[1:] == [agreed, (31, 61, SUSPECT, "crossed", ""), (62, 70, VERIFIED, "", "")]


def test_best_prices_of_the_same_update_witness_the_book_before_and_after_its_diff() -> None:
    follower = run((1, 50), (51, 60), snapshot=50)
    follower.ticker(60)
    follower.ticker(63)
    follower.ticker(70)
    follower.diff(61, 70)
    follower.check()
    assert follower.book.standing.trust is VERIFIED
    follower.diff(71, 80)
    bid, ask = WORLD.best(80)
    wrong = BookTicker(80, SYMBOL, bid, 0.5, ask, 0.5)
    follower.book.hear_ticker(wrong)
    assert follower.book.standing.trust is SUSPECT
    assert follower.trust[1:] == [(51, 70, VERIFIED, "", ""), (71, 80, SUSPECT, "witness differs", "")]
    follower.diff(81, 90)
    follower.snapshot(85)
    follower.check()
    assert follower.trust[-1] == (81, 90, VERIFIED, "", "")


def test_a_message_that_cannot_be_read_may_have_been_a_change_of_the_book() -> None:
    follower = run((1, 50), (51, 60), snapshot=50)
    payload = WORLD.ticker(60)
    assert payload is not None
    payload = payload.replace(b'"b":"', b'"b":"-')
    follower.ticker(60, payload)
    follower.take()
    assert (len(follower.refused), follower.book.standing.trust) == (1, SUSPECT)


def test_an_empty_side_is_witnessed_too() -> None:
    follower = Follower()
    follower.diff(0, 0, market.message(1, 1, [(text(9), text(1))], []))
    follower.book.hear_snapshot(market.snapshot(1, [(text(9), text(1))], []), LIMIT, START_MS)
    follower.book.hear_ticker(BookTicker(1, SYMBOL, 9.0, 1.0, 0.0, 0.0))
    assert follower.book.agreed == 1
    follower.book.hear_ticker(BookTicker(1, SYMBOL, 9.0, 1.0, 10.0, 1.0))
    assert follower.book.standing.why == Cause.WITNESS


def test_a_new_snapshot_that_differs_makes_suspect_what_nothing_witnessed() -> None:
    follower = run((1, 50), (51, 60), snapshot=50)
    follower.ticker(60)
    payload = WORLD.diff(61, 70).replace(b"9.00000000", b"8.00000000")
    follower.diff(
        61, 70, market.message(61, 70, [(text(1), text(1))], []) if payload == WORLD.diff(61, 70) else payload
    )
    follower.book.asked()
    follower.diff(71, 80)
    follower.snapshot(75)
    follower.diff(81, 90)
    follower.check()
    assert follower.ids(DepthTop) == [60, 70, 80, 90]  # that of 80 is of the book that differs
    assert follower.trust[1:3] == [(51, 60, VERIFIED, "", ""), (61, 80, SUSPECT, "witness differs", "")]
    assert follower.trust[3:] == [(81, 90, VERIFIED, "", "")]


def test_an_interval_of_messages_that_have_the_time_of_one_before_is_not_empty() -> None:
    for turned in (False, True):
        ledger = BookLedger()
        ledger.add(1, 1, START_MS)
        mark = ledger.mark()
        if not turned:
            ledger.standing = Standing(VERIFIED)
        ledger.add(2, 2, START_MS)
        if turned:
            ledger.turn_since(mark, Standing(VERIFIED))
        ledger.begin("stopped")
        one, two = ledger.take()
        assert [(each.first_id, each.last_id) for each in (one, two)] == [(1, 1), (2, 2)]
        assert (two.start_ms, two.end_ms) == (one.end_ms, START_MS + 2)
