"""How the ledger of a loader ends that ended without a word: by what it has left on the topic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from streamforge_utils.model.books.records import DIFF, INTERVAL, Depth, DepthInterval, interval_of, kind_name_of
from streamforge_utils.model.books.trust import BookInterval, BookLedger, Cause, Standing, Trust
from streamforge_utils.model.completeness.interval_survey import Link
from streamforge_utils.model.messages import DECODE_ERRORS

_read_diff = msgspec.json.Decoder(Depth).decode
_read_interval = msgspec.json.Decoder(DepthInterval).decode


class Message(Protocol):
    """A message of the topic."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes: ...


def ending(messages: Iterable[Message]) -> list[BookInterval]:
    """What the ledger lacks behind the last messages of a topic, oldest first: nothing if it was closed.

    The interval that went on ends; diffs behind it, of which nothing was told, are unverifiable. What is no record of
    an order book says nothing.
    """
    last: BookInterval | None = None
    diffs: list[Link] = []
    for one in messages:
        try:
            kind = kind_name_of(one.key or b"")
            if kind == INTERVAL:
                told = interval_of(_read_interval(one.value))
                if last is None or told.last_id >= last.last_id or told.first_id == last.first_id:
                    last = told
            elif kind == DIFF:
                diff = _read_diff(one.value)
                diffs.append(Link(diff.first_update_id, diff.last_update_id, diff.event_time))
        except DECODE_ERRORS:
            continue
    return ended(last, diffs)


def ended(last: BookInterval | None, diffs: Iterable[Link]) -> list[BookInterval]:
    """As `ending`: what the ledger lacks behind its last entry. diffs: in any order."""
    known = 0 if last is None else last.last_id
    behind = sorted((diff for diff in diffs if diff.last_id > known), key=lambda diff: diff.last_id)
    ledger = BookLedger()
    ledger.standing = Standing(Trust.UNVERIFIABLE, Cause.ENDED)
    for diff in behind:
        if ledger.next_id and diff.first_id > ledger.next_id:
            ledger.begin(Cause.GAP)
        ledger.add(*diff)
    ledger.begin(Cause.ENDED)
    found = ledger.take()
    if last is not None and not last.cause and (not found or found[0].first_id > known + 1):
        cause = Cause.GAP if found else Cause.ENDED
        found.insert(0, msgspec.structs.replace(last, cause=cause))
    return found
