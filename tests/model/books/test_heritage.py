"""The book that another loader has left on a topic: it is taken where the ledger there vouches for it to its end."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest

from streamforge_utils.model.books.book_messages import DepthDiff, read_message, read_snapshot
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.records import checkpoint_of, interval_record
from streamforge_utils.model.books.succession import heritage
from streamforge_utils.model.books.trust import BookInterval, Cause, Trust
from tests.doubles.bookfollower import CLEAN, VERIFIED, WORLD, Follower, run
from tests.doubles.market import START_MS, SYMBOL

AT = 100
"""The last update of the book that was left."""


class Sent(NamedTuple):
    key: bytes
    value: bytes


def book_at(last_id: int) -> OrderBook:
    return OrderBook.of_snapshot(read_snapshot(WORLD.snapshot(last_id, 1001), 1001))


def left(last_id: int = AT) -> Sent:
    """A whole book."""
    record = checkpoint_of(book_at(last_id), SYMBOL, START_MS, 1)
    return Sent(record.key.encode(), msgspec.json.encode(record))


def told(first_id: int, last_id: int, trust: Trust = VERIFIED, cause: str = "", anchor_id: int | None = 50) -> Sent:
    """An entry of the ledger."""
    given: dict[str, Any] = {"start_ms": START_MS, "end_ms": START_MS + 1, "messages": 1, "anchor_id": anchor_id}
    one = BookInterval(first_id=first_id, last_id=last_id, trust=trust, cause=cause, **given)
    record = interval_record(one, SYMBOL, 1)
    return Sent(record.key.encode(), msgspec.json.encode(record))


def diff(first_id: int, last_id: int) -> DepthDiff:
    found = read_message(WORLD.diff(first_id, last_id))
    assert isinstance(found, DepthDiff)
    return found


@pytest.mark.parametrize(
    ("messages", "taken"),
    [
        ([left(), told(90, 110)], AT),
        ([told(90, 99), left(), told(90, 110)], AT),
        ([left(60), left(), told(90, 110)], AT),
        ([left(), Sent(left().key, b"no book"), told(AT, AT)], AT),
        ([left(), told(AT + 1, 110)], None),
        ([left(), told(90, AT - 1)], None),
        ([left(), told(90, 110), told(90, 110, Trust.SUSPECT)], None),
        ([left(), told(90, 110), told(111, 112, CLEAN)], None),
        ([left(), told(90, 110, cause=Cause.GAP)], None),
        ([left()], None),
        ([told(90, 110)], None),
    ],
)
def test_a_book_is_taken_that_lies_in_the_last_entry_if_that_is_verified(
    messages: list[Sent], taken: int | None
) -> None:
    found = heritage(messages)
    assert (None if found is None else found.book.last_id) == taken
    assert found is None or (found.anchor_id, found.book.levels()) == (50, book_at(AT).levels())


def follower() -> Follower:
    """One that has heard diffs and no snapshot."""
    return run((111, 115), (116, 120))


def test_diffs_from_elsewhere_lead_the_book_to_those_that_are_held() -> None:
    one = follower()
    one.book.inherit(book_at(AT), 50, iter([diff(99, 105), diff(95, 98), diff(103, 112), diff(113, 118)]))
    one.check()
    assert one.trust == [(111, 120, VERIFIED, "", "")]
    assert one.told[-1].anchor_id == 50
    one.diff(121, 125)
    one.check()


@pytest.mark.parametrize("diffs", [[], [diff(99, 105)], [diff(99, 105), diff(107, 112)]])
def test_a_book_that_does_not_reach_what_is_held_is_left(diffs: list[DepthDiff]) -> None:
    one = follower()
    one.book.inherit(book_at(AT), 50, iter(diffs))
    assert (one.book.book, one.trust) == (None, [(111, 120, CLEAN, "awaiting snapshot", "")])


def test_a_snapshot_that_is_under_way_meanwhile_is_of_use() -> None:
    one = follower()
    one.book.asked()
    one.book.inherit(book_at(115), 50, iter(()))
    one.diff(121, 125)
    one.snapshot(122)
    assert one.book.useless == 0
    one.check()
