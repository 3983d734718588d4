"""Snapshots and diffs joined: what is verified is compared with a market whose book is known after every update."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge_utils.model.books.records import DepthCheckpoint, DepthTop, book_of
from streamforge_utils.model.books.snapshot_requests import Importance
from streamforge_utils.model.books.trust import Cause
from streamforge_utils.model.kinds.registry import kind_named
from tests.doubles import market
from tests.doubles.bookfollower import CLEAN, SUSPECT, VERIFIED, WORLD, Follower, run
from tests.doubles.market import START_MS, Market, text


def test_diffs_that_a_snapshot_reaches_are_verified_also_those_that_came_before_it() -> None:
    follower = run((1, 5), (6, 9), (10, 14), (15, 20), snapshot=11)
    assert follower.trust == [(1, 9, CLEAN, "awaiting snapshot", ""), (10, 20, VERIFIED, "", "")]
    assert [(one.anchor_id, one.messages) for one in follower.told] == [(None, 2), (11, 2)]
    assert (follower.told[0].start_ms, follower.told[0].end_ms) == (START_MS + 500, START_MS + 901)
    assert (follower.told[1].start_ms, follower.told[1].end_ms) == (START_MS + 901, START_MS + 2001)
    follower.diff(21, 22)
    follower.check()
    assert follower.ids() == [5, 9, 14, 20, 22]
    assert follower.book.wanted(follower.now_ms) is None


@pytest.mark.parametrize(("last_id", "reached"), [(5, False), (8, False), (9, True), (14, True), (20, True)])
def test_a_snapshot_older_than_what_is_held_is_asked_for_again(last_id: int, reached: bool) -> None:
    follower = Follower()
    for first_id, end in ((10, 14), (15, 20)):
        follower.diff(first_id, end)
    follower.book.asked()
    assert follower.book.wanted(follower.now_ms) is None
    follower.snapshot(last_id)
    follower.check()
    assert (follower.book.standing.trust is VERIFIED) == reached
    assert follower.book.useless == int(not reached)
    if not reached:
        assert follower.book.wanted(follower.now_ms) is None
        assert follower.book.wanted(follower.now_ms + 500) is not None
        follower.diff(21, 22)
        follower.snapshot(9)  # what was held is held still
        follower.check()
        assert follower.trust == [(10, 22, VERIFIED, "", "")]


def test_the_waits_between_snapshots_of_no_use_grow_to_their_limit() -> None:
    follower = run((10, 14))
    waits = []
    for _ in range(8):
        follower.book.snapshot_failed(0)
        waits.append(next(ms for ms in range(0, 40_000, 500) if follower.book.wanted(ms) is not None))
    assert waits == [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]


def test_a_snapshot_ahead_of_the_stream_is_kept_until_the_stream_has_reached_it() -> None:
    follower = run((1, 5), (6, 9), snapshot=13)
    assert follower.book.standing.trust is CLEAN
    follower.diff(10, 12)
    assert follower.book.standing.trust is CLEAN
    follower.diff(13, 15)
    follower.check()
    assert follower.trust == [(1, 12, CLEAN, "awaiting snapshot", ""), (13, 15, VERIFIED, "", "")]
    follower.diff(20, 22)
    assert follower.book.wanted(follower.now_ms) is not None, "nothing is waited for any more"


def test_a_snapshot_before_the_first_diff_begins_a_book() -> None:
    follower = run(snapshot=11)
    assert follower.book.standing.trust is VERIFIED
    for first_id, last_id in ((5, 8), (9, 11), (12, 12)):
        follower.diff(first_id, last_id)
    follower.check()
    assert follower.trust == [(5, 11, CLEAN, "awaiting snapshot", ""), (12, 12, VERIFIED, "", "")]


def test_a_stream_that_begins_behind_the_snapshot_needs_another_one() -> None:
    follower = run(snapshot=11)
    follower.diff(15, 40)
    follower.check()
    assert follower.trust == [(15, 40, CLEAN, "awaiting snapshot", "")]
    assert follower.book.wanted(follower.now_ms) is not None
    follower.snapshot(30)
    follower.check()
    assert follower.trust == [(15, 40, VERIFIED, "", "")]


def test_doubled_overlapping_and_older_messages_change_nothing() -> None:
    follower = run((1, 5), (6, 9), snapshot=7)
    for first_id, last_id in ((6, 9), (1, 5), (8, 12), (3, 11), (12, 14)):
        follower.diff(first_id, last_id)
        follower.check()
    assert follower.trust[1:] == [(6, 14, VERIFIED, "", "")]
    assert follower.ids() == [5, 9, 12, 14]
    assert follower.book.duplicates == 3


def test_ids_that_went_wrong_do_not_silence_a_symbol_for_ever() -> None:
    follower = run((1, 5), snapshot=5)
    follower.diff(0, 0, market.message(900_000, 900_001, [], []))
    for last_id in range(6, 400):
        follower.diff(last_id, last_id)
    assert follower.ids() == [5, 900_001, *range(6, 400)]  # they are what lacked
    for _ in range(206):
        follower.diff(399, 399)
    assert follower.book.standing.trust is SUSPECT
    follower.diff(400, 400)
    follower.snapshot(399)
    follower.check()
    assert follower.book.standing.trust is VERIFIED


@pytest.mark.parametrize("early", [False, True])
def test_ids_that_jump_are_not_believed_once_their_connection_gives_what_lacked(early: bool) -> None:
    follower = run((1, 5), (6, 9), snapshot=9)
    moved = WORLD.diff(10, 12).replace(b'"U":10', b'"U":20').replace(b'"u":12', b'"u":22')
    follower.diff(0, 0, moved)
    if early:
        follower.snapshot(21)
        assert follower.book.standing.trust is VERIFIED, "nobody can see yet that it says what is old"
    follower.diff(13, 15)
    follower.snapshot(21)
    assert follower.book.standing.why == Cause.GAP
    follower.diff(16, 21)
    assert (20, 22, SUSPECT, "sequence gap", "") in follower.trust
    follower.diff(22, 25)
    follower.snapshot(25)
    follower.check()
    assert follower.book.standing.trust is VERIFIED


def test_what_lacked_before_ids_that_jumped_may_come_by_another_connection() -> None:
    follower = run((1, 5), (6, 9), snapshot=9)
    follower.diff(20, 22)
    follower.snapshot(22)
    follower.diff(10, 19, connection=0)
    follower.check()
    assert follower.book.standing.trust is VERIFIED


def test_a_price_that_walks_out_of_the_band_is_not_verified_and_a_deeper_snapshot_is_asked_for() -> None:
    world = Market(3, 600, first_price=50)
    follower = Follower(world, limit=4, deep_limit=9)
    follower.diff(1, 100)
    follower.snapshot(100, 4)
    seen = set[Importance | None]()
    for last_id in range(101, 600):
        follower.diff(last_id, last_id)
        follower.check()
        wanted = follower.book.wanted(follower.now_ms)
        seen.add(None if wanted is None else wanted.importance)
        lost = follower.book.standing.why == Cause.OUT_OF_BAND
        assert wanted is None or wanted.limit == (9 if wanted.importance is Importance.WALKED_OUT else 4)
        assert not lost or wanted is not None
    assert seen == {None, Importance.RENEW, Importance.WALKED_OUT}
    assert {(one.trust, one.why) for one in follower.told} >= {(VERIFIED, ""), (CLEAN, "out of band")}
    follower.snapshot(599, 9)
    follower.check()
    assert follower.book.standing.trust is VERIFIED


def test_of_what_is_held_only_that_is_verified_behind_which_the_best_prices_are_known() -> None:
    follower = Follower()
    bids, asks = [(text(98), text(1)), (text(97), text(1))], [(text(101), text(1))]
    gone, back = [(text(98), text(0)), (text(97), text(0))], [(text(97), text(2))]
    for last_id, changes in ((10, []), (11, gone), (12, back), (13, [])):
        follower.diff(0, 0, market.message(last_id, last_id, changes, []))
    follower.book.hear_snapshot(market.snapshot(10, bids, asks), 2, START_MS)
    assert follower.trust == [(10, 11, CLEAN, "awaiting snapshot", ""), (12, 13, VERIFIED, "", "")]


def test_what_is_held_for_a_snapshot_is_bounded_and_nothing_of_it_lacks_on_the_topic() -> None:
    follower = Follower(held_diffs=10)
    for last_id in range(1, 101):
        follower.diff(last_id, last_id)
    assert follower.ids() == [*range(1, 101)]
    assert follower.book.held.forgotten >= 90
    follower.snapshot(50)
    assert follower.book.useless == 1
    follower.snapshot(98)
    follower.check()
    assert follower.trust[-1] == (99, 100, VERIFIED, "", "")
    small = Follower(held_bytes=1000)
    for last_id in range(1, 101):
        small.diff(last_id, last_id)
    assert small.book.held.forgotten >= 90


def test_tops_and_checkpoints_are_taken_of_verified_books_at_their_times() -> None:
    follower = run((1, 5), snapshot=3)
    for last_id in range(6, 120):
        follower.diff(last_id, last_id)
    assert follower.ids(DepthTop) == [5, *range(10, 120, 10)]  # a second is ten messages
    assert follower.ids(DepthCheckpoint) == [5, 50, 100]
    follower.diff(122, 122)
    follower.diff(123, 140)
    assert follower.ids(DepthTop)[-1] == 110
    follower.snapshot(130)
    assert follower.ids(DepthTop)[-1] == 140
    book = book_of(follower.of(DepthCheckpoint)[-1])
    assert follower.book.book is not None
    assert book.levels() == follower.book.book.levels()
    follower.diff(141, 141)
    assert follower.ids(DepthTop)[-1] == 140


def test_a_record_is_the_message_with_what_is_known_of_its_way() -> None:
    follower = run((1, 5))
    (key, value), payload = follower.records[0], WORLD.diff(1, 5)
    data = msgspec.json.decode(payload)["data"]
    assert msgspec.json.decode(value) == {
        "_key": "BTCUSDT_000000000005",
        "_version": START_MS,
        "symbol": "BTCUSDT",
        "first_update_id": 1,
        "last_update_id": 5,
        "event_time": data["E"],
        "received_time": START_MS * 1000,
        "connection": 1,
        "bids": data["b"],
        "asks": data["a"],
    }
    assert kind_named("depth").document(key, value)[0] == "BTCUSDT_000000000005"


def test_a_stop_ends_the_open_interval() -> None:
    follower = run((1, 5), snapshot=3)
    follower.diff(6, 8)
    follower.book.stop()
    follower.take()
    assert follower.trust == [(1, 8, VERIFIED, "", "stopped")]
    assert follower.book.ledger.counts == {VERIFIED: 2, CLEAN: 0, SUSPECT: 0}


OPERATIONS = st.tuples(
    st.sampled_from(["next", "next", "next", "drop", "double", "swap", "ticker", "snapshot", "stale", "ahead", "cut"]),
    st.integers(0, 1),
    st.integers(0, 40),
)


@settings(max_examples=200)
@given(st.integers(0, 10**4), st.sampled_from([3, 8, 1000]), st.lists(OPERATIONS, max_size=80))
def test_what_is_called_verified_is_what_the_market_has(
    seed: int, limit: int, operations: list[tuple[str, int, int]]
) -> None:
    world = Market(seed, 300, first_price=60)
    follower = Follower(world, limit=limit, deep_limit=limit, top_every_ms=300, checkpoint_every_ms=900)
    connections = [list(world.batches(seed + one)) for one in (0, 1)]
    sent, heard = 0, set[int]()

    def hear(span: tuple[int, int], connection: int) -> None:
        follower.diff(*span, connection=connection)
        heard.update(range(span[0], span[1] + 1))

    for what, number, far in operations:
        left = connections[number]
        if what in ("next", "drop", "double", "swap") and len(left) > 1:
            span = left.pop(0)
            sent = max(sent, span[1])
            if what == "swap":
                hear(left.pop(0), number + 1)
            for _ in range({"drop": 0, "double": 2}.get(what, 1)):
                hear(span, number + 1)
                follower.check()
        elif what == "cut":
            follower.book.interrupted(Cause.DISCONNECT)
        elif what == "ticker" and sent:
            follower.ticker(max(1, sent - far // 10))
        elif what in ("snapshot", "stale", "ahead"):
            follower.book.asked()
            moved = {"snapshot": 0, "stale": -far, "ahead": far}[what]
            follower.snapshot(min(max(sent + moved, 1), 300), limit)
        follower.check()
        assert follower.book.standing.why != Cause.WITNESS
    told = follower.told
    assert {number for one in told for number in range(one.first_id, one.last_id + 1)} <= heard
    assert sum(one.messages for one in told) == len(follower.ids())
    for one in told:
        if one.trust is VERIFIED:
            assert one.anchor_id is not None
            assert one.why == ""
    for top in follower.of(DepthTop):
        bids, asks = ([float(price) for price, _ in side] for side in (top.bids, top.asks))
        assert (max(bids, default=0.0), min(asks, default=float("inf"))) == world.best(top.last_update_id)


def test_of_snapshots_the_most_important_goes_first_then_the_one_that_is_waited_for_longest() -> None:
    """Where the price nears the end of what is known, where it is beyond, where there is no book, and a new one."""
    ranks = dict[Importance, tuple[int, ...]]()
    walking = Follower(Market(3, 600, first_price=50), limit=4, deep_limit=9)
    walking.diff(1, 100)
    walking.snapshot(100, 4)
    for last_id in range(101, 600):
        walking.now_ms += 1
        walking.diff(last_id, last_id)
        if (wanted := walking.book.wanted(walking.now_ms)) is not None:
            ranks.setdefault(wanted.importance, walking.book.rank())
    lost = run((1, 5), snapshot=5)
    lost.now_ms += 60_000
    lost.diff(8, 9)
    assert lost.book.wanted(lost.now_ms) is not None
    new, later = Follower(), Follower()
    for one, at_ms in ((new, START_MS + 10_000), (later, START_MS + 90_000)):
        assert one.book.wanted(at_ms) is not None
        assert one.book.wanted(at_ms + 50_000) is not None  # it waits since it first asked
    order = [
        later.book.rank(),
        ranks[Importance.RENEW],
        lost.book.rank(),
        ranks[Importance.WALKED_OUT],
        new.book.rank(),
    ]
    assert sorted(order) == [order[4], order[2], order[0], order[3], order[1]]
