"""What a witness contradicts is suspect since the book last agreed with one, also in intervals that ended since."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge_utils.model.books.book_messages import BookTicker
from streamforge_utils.model.books.records import DepthCheckpoint, DepthTop
from streamforge_utils.model.books.trust import BookInterval, BookLedger, Cause, Standing, Trust
from streamforge_utils.model.completeness.continuity import MOST_TURNED
from tests.doubles import market
from tests.doubles.bookfollower import CLEAN, SUSPECT, VERIFIED, Follower
from tests.doubles.market import START_MS, SYMBOL, text

Levels = Sequence[tuple[str, str]]
_DEEP = [(text(price), text(1)) for price in (98, 97, 96)]
_AWAY = [(price, text(0)) for price, _ in _DEEP]
_BACK = [(text(97), text(2))]
AWAITED = (10, 10, CLEAN, Cause.AWAITING)


def begun() -> Follower:
    """A book of three bids, which are all that is known of them, verified from id 11 on."""
    follower = Follower(limit=3)
    change(follower, 10)
    snapshot(follower, 10)
    change(follower, 11)
    return follower


def change(follower: Follower, at: int, bids: Levels = (), asks: Levels = ()) -> None:
    follower.diff(0, 0, market.message(at, at, list(bids), list(asks)))


def snapshot(follower: Follower, at: int, bids: Levels = _DEEP) -> None:
    follower.book.asked()
    follower.book.hear_snapshot(market.snapshot(at, list(bids), [(text(101), text(1))]), 3, START_MS)


def ticker(follower: Follower, at: int, bid: float, quantity: float = 1.0) -> None:
    follower.book.hear_ticker(BookTicker(at, SYMBOL, bid, quantity, 101.0, 1.0))


def trust(follower: Follower) -> list[tuple[int, int, Trust, str]]:
    return sorted((one.first_id, one.last_id, one.trust, one.why) for one in follower.told)


def excursion(follower: Follower, at: int) -> None:
    """The best price leaves what is known, and comes back with the next message."""
    change(follower, at, _AWAY)
    change(follower, at + 1, _BACK)


def test_an_interval_that_ended_is_turned_from_its_last_agreement_on() -> None:
    follower = begun()
    ticker(follower, 11, 98)
    change(follower, 12)  # what changed is missing
    excursion(follower, 13)
    expected = [AWAITED, (11, 12, VERIFIED, ""), (13, 13, CLEAN, "out of band"), (14, 14, VERIFIED, "")]
    assert trust(follower) == expected
    ticker(follower, 14, 97, 3)
    differs = (SUSPECT, "witness differs")
    assert trust(follower) == [
        AWAITED,
        (11, 11, VERIFIED, ""),
        (12, 12, *differs),
        (13, 13, *differs),
        (14, 14, *differs),
    ]
    told = {one.first_id: one for one in follower.told}
    assert (told[11].end_ms, told[11].messages, told[11].anchor_id) == (told[12].start_ms, 1, 10)
    assert (told[12].end_ms, told[12].messages, told[12].anchor_id) == (told[13].start_ms, 1, None)
    assert follower.book.ledger.counts == {VERIFIED: 1, CLEAN: 1, SUSPECT: 2}


def test_a_snapshot_that_differs_turns_what_ended_up_to_where_its_own_book_begins() -> None:
    follower = begun()
    ticker(follower, 11, 98)
    change(follower, 12)
    excursion(follower, 13)
    snapshot(follower, 14, [(text(97), text(5)), *_DEEP[2:]])
    change(follower, 15)
    differs = (SUSPECT, "witness differs")
    assert trust(follower)[2:] == [(12, 12, *differs), (13, 13, *differs), (14, 14, *differs), (15, 15, VERIFIED, "")]


def test_what_lies_before_an_anchor_that_agreed_is_not_turned() -> None:
    follower = begun()
    excursion(follower, 12)
    snapshot(follower, 13, [*_BACK, (text(95), text(1)), (text(94), text(1))])
    change(follower, 14)
    ticker(follower, 14, 96)
    assert trust(follower) == [
        AWAITED,
        (11, 11, VERIFIED, ""),
        (12, 12, CLEAN, "out of band"),
        (13, 13, VERIFIED, ""),
        (14, 14, SUSPECT, "witness differs"),
    ]


def test_an_interval_that_can_be_turned_no_more_is_not_called_verified_without_a_witness() -> None:
    follower = begun()
    for at in range(12, 14 + 2 * MOST_TURNED, 2):
        excursion(follower, at)
    found, last = trust(follower), 13 + 2 * MOST_TURNED
    assert found[:2] == [AWAITED, (11, 11, CLEAN, Cause.AWAITING)]
    assert [one[0] for one in found if one[2] is VERIFIED] == [*range(last - MOST_TURNED, last + 1, 2)]
    ticker(follower, last, 90)
    assert not [one for one in trust(follower) if one[2] is VERIFIED]


def test_what_was_compared_stays_verified_however_many_intervals_follow() -> None:
    follower = begun()
    for at in range(12, 14 + 2 * MOST_TURNED, 2):
        excursion(follower, at)
        ticker(follower, at + 1, 97, 2)
    assert follower.book.agreed == MOST_TURNED + 1
    assert len([one for one in trust(follower) if one[2] is VERIFIED]) == MOST_TURNED + 2


def test_a_book_that_replaces_one_that_differs_is_doubted_from_its_own_begin() -> None:
    follower = begun()
    follower.book.asked()
    change(follower, 12)
    ticker(follower, 12, 98)
    follower.book.hear_snapshot(
        market.snapshot(11, [_DEEP[0], (text(97), text(5)), _DEEP[2]], [(text(101), text(1))]), 3, START_MS
    )
    assert [one.anchor_id for one in follower.told] == [None, 10, 11]
    change(follower, 13)
    ticker(follower, 13, 97)
    assert trust(follower) == [AWAITED, (11, 11, VERIFIED, ""), (12, 13, SUSPECT, "witness differs")]


def test_what_another_ledger_has_of_what_ended_is_told_by_that() -> None:
    follower = begun()
    for at in (12, 14, 16):
        excursion(follower, at)
    (clipped,) = (one for one in follower.told if one.first_id == 15)
    follower.book.ledger.keep_only([clipped])
    follower.intervals.clear()
    ticker(follower, 17, 90)
    assert [one[:3] for one in trust(follower)] == [(15, 15, SUSPECT), (17, 17, SUSPECT)]


def test_of_an_interval_that_another_ledger_begins_only_the_rest_is_told() -> None:
    follower = begun()
    for at in (12, 13, 14):
        change(follower, at)
    excursion(follower, 15)
    whole = follower.told[1]
    follower.book.ledger.keep_only([msgspec.structs.replace(whole, first_id=13, messages=2)])
    follower.intervals.clear()
    ticker(follower, 16, 90)
    assert [(one.first_id, one.last_id, one.messages) for one in follower.told] == [(13, 14, 2), (16, 16, 1)]


@pytest.mark.parametrize(("later_ms", "expected"), [(0, [(1, 2, VERIFIED), (3, 3, SUSPECT)]), (500, [(1, 3, SUSPECT)])])
def test_what_another_ledger_told_of_the_chain_is_doubted_too(
    later_ms: int, expected: list[tuple[int, int, Trust]]
) -> None:
    """later_ms: so much later than here its messages were, which a time here cannot divide then."""
    ledger = BookLedger()
    ledger.standing = Standing(VERIFIED, "", 1)
    marks = [ledger.mark()]
    for at in range(1, 6):
        ledger.add(at, at, START_MS + 100 * at)
        marks.append(ledger.mark())
    one, two = (
        BookInterval(
            first_id=first,
            last_id=last,
            start_ms=START_MS + 100 * first + later_ms,
            end_ms=START_MS + 100 * last + 1 + later_ms,
            trust=VERIFIED,
            messages=last - first + 1,
        )
        for first, last in ((1, 3), (4, 5))
    )
    ledger.follow(two, 0, two.end_ms)
    ledger.keep_only([], [one, two])
    ledger.doubt_since(marks[2], Standing(SUSPECT, Cause.WITNESS))
    ledger.begin(Cause.DISCONNECT)
    told = {each.first_id: each for each in ledger.take()}
    assert [(each.first_id, each.last_id, each.trust) for each in told.values()] == [*expected, (4, 5, SUSPECT)]
    assert [each.cause for each in told.values()][-1] == "disconnect"
    assert {*ledger.counts.values()} == {0}


def test_where_a_book_was_published_that_was_wrong_nothing_is_verified_again() -> None:
    """The snapshot that replaces it is older than what was published, and is led on by what was held."""
    differs = (SUSPECT, "witness differs")
    for witness in ("ticker", "snapshot"):
        follower = begun()
        follower.book.asked()
        for at in range(12, 23):
            change(follower, at)
        if witness == "ticker":
            ticker(follower, 22, 98, 5)
        snapshot(follower, 11, [(text(98), text(5)), *_DEEP[1:]])
        change(follower, 23)
        assert trust(follower) == [AWAITED, (11, 20, *differs), (21, 23, VERIFIED, "")]
        assert follower.ids(DepthTop) == [11, 20, 22]
        assert [one.bids[0] for one in follower.of(DepthTop)][1:] == [_DEEP[0], (text(98), text(5))]


STEPS = ["quiet", "hidden", "excursion", "ticker", "ticker", "snapshot", "gap", "cross"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_nothing_behind_the_last_agreement_before_a_contradiction_is_verified(steps: list[str]) -> None:
    """hidden: the best bid's quantity changes, and no message says it. cross: somebody asks as much as is bid."""
    follower = begun()
    at, price, quantity, seen = 11, 98, 1, 10
    ends: list[tuple[int, int]] = []

    def best() -> list[tuple[str, str]]:
        return [(text(price), text(quantity)), (text(price - 1), text(1)), (text(price - 2), text(1))]

    for step in steps:
        doubtful = follower.book.standing.trust is SUSPECT
        agreed = follower.book.agreed
        if step == "quiet":
            at += 1
            change(follower, at)
        elif step == "hidden":
            at, quantity = at + 1, quantity + 1
            change(follower, at)
        elif step == "excursion":
            gone = [(text(one), text(0)) for one in range(90, 100)]
            at, price, quantity = at + 2, 97, 2
            change(follower, at - 1, gone)
            change(follower, at, [(text(97), text(2))])
        elif step == "cross":
            at += 1
            change(follower, at, asks=[(text(price), text(1))])
        elif step == "ticker":
            ticker(follower, at, float(price), float(quantity))
            seen = at if follower.book.agreed > agreed else seen
        elif step == "gap":
            at += 2
            change(follower, at, [(text(price), text(quantity))])
            continue
        if not doubtful and follower.book.standing.why in (Cause.WITNESS, Cause.CROSSED):
            ends.append((seen, at))
        if step == "snapshot":
            book = follower.book.book
            known = None if book is None else dict(book.bids.levels())
            snapshot(follower, at, best())
            if known is not None and known.get(price) not in (None, quantity):
                ends.append((seen, at))
            seen = at
    for since, until in ends:
        for one in follower.told:
            verified = range(max(one.first_id, since + 1), min(one.last_id, until) + 1)
            assert not (one.trust is VERIFIED and verified), (since, until, trust(follower))
    ids = sorted(each for one in follower.told for each in range(one.first_id, one.last_id + 1))
    assert len(ids) == len({*ids}) == len(follower.ids()) == sum(one.messages for one in follower.told)


def wholes(follower: Follower) -> tuple[list[int], list[int]]:
    return follower.ids(DepthTop), follower.ids(DepthCheckpoint)


def test_a_book_that_is_verified_again_is_stored_whole_at_once() -> None:
    follower = begun()
    assert wholes(follower) == ([11], [11])
    excursion(follower, 12)
    assert wholes(follower) == ([11], [11]), "200 ms behind the one before"
    for at in range(14, 30):
        change(follower, at)
    assert wholes(follower) == ([11, 20], [11, 21]), "a second is ten messages"
    for at in range(30, 33):
        change(follower, at)
    excursion(follower, 33)
    assert trust(follower)[-1] == (34, 34, VERIFIED, "")
    assert wholes(follower) == ([11, 20, 30, 34], [11, 21, 34])


def test_what_a_snapshot_verifies_is_stored_whole_though_the_book_is_lost_with_the_next_message() -> None:
    follower = Follower(limit=3)
    for at in (10, 11, 12):
        change(follower, at)
    snapshot(follower, 10)
    follower.take()
    assert wholes(follower) == ([12], [12])
    change(follower, 13, _AWAY)
    assert trust(follower) == [AWAITED, (11, 12, VERIFIED, ""), (13, 13, CLEAN, "out of band")]


def test_a_snapshot_of_where_the_book_is_verifies_nothing_yet_and_is_not_stored() -> None:
    follower = Follower(limit=3)
    change(follower, 10)
    snapshot(follower, 10)
    follower.take()
    assert wholes(follower) == ([], [])
