"""How a ledger goes on whose loader was replaced by one that had listened beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from streamforge_utils.model.books.book_messages import DepthDiff
from streamforge_utils.model.books.ledger_ending import Message, ending
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.records import (
    CHECKPOINT,
    DIFF,
    INTERVAL,
    Depth,
    DepthCheckpoint,
    DepthInterval,
    book_of,
    diff_of,
    interval_of,
    kind_name_of,
)
from streamforge_utils.model.books.trust import BookInterval, Trust
from streamforge_utils.model.messages import DECODE_ERRORS

_read_interval = msgspec.json.Decoder(DepthInterval).decode
_read_checkpoint = msgspec.json.Decoder(DepthCheckpoint).decode
_read_diff = msgspec.json.Decoder(Depth).decode


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What the last messages of a topic tell. last_id: the greatest that was written; 0: there is none.

    told: the entry of the ledger that reaches furthest. version: the greatest of its entries. entries: all that are
    there, as they were told last, by their first ids.
    """

    last_id: int = 0
    told: BookInterval | None = None
    version: int = 0
    entries: dict[int, BookInterval] = msgspec.field(default_factory=dict)

    @property
    def told_id(self) -> int:
        """The last id of which the ledger says something."""
        return 0 if self.told is None else self.told.last_id


class Succession(msgspec.Struct, frozen=True, kw_only=True):
    """entries: what is to be written of the ledger before, and nothing more of it.

    after: with which that ends; None: there is none. Of ids up to there the next one tells nothing: what it heard of
    them and the topic lacks is written by nobody. It has no cause where the next one goes on without a break.
    until_ms: when the last record on the topic ends; the next one's may have another time. chain: the entries that go
    on without a break up to `after`, which has no cause; oldest first, as far as they are on the topic.
    """

    entries: list[BookInterval]
    after: BookInterval | None = None
    until_ms: int = 0
    chain: Sequence[BookInterval] = ()

    @property
    def after_id(self) -> int:
        return 0 if self.after is None else self.after.last_id


def written(messages: Iterable[Message]) -> Written:
    """What the last messages of a topic tell; what is no record of an order book says nothing."""
    last_id, told, version = 0, None, 0
    entries: dict[int, BookInterval] = {}
    for one in messages:
        key = one.key or b""
        try:
            kind = kind_name_of(key)
            if kind == DIFF:
                last_id = max(last_id, id_of(key))
            elif kind == INTERVAL:
                record = _read_interval(one.value)
                version = max(version, record.version)
                entries[record.first_update_id] = interval_of(record)
                if told is None or record.last_update_id >= told.last_id:
                    told = entries[record.first_update_id]
        except (*DECODE_ERRORS, ValueError):
            continue
    if told is not None:  # its diffs went before it, though they may be trimmed
        last_id = max(last_id, told.last_id)
    return Written(last_id=last_id, told=told, version=version, entries=entries)


def succession(messages: Sequence[Message], own: Sequence[BookInterval]) -> Succession:
    """How the ledger on a topic goes on with the entries of one who has listened beside its author."""
    found, entries = written(messages), ending(messages)
    told, last_id = found.told, found.last_id
    if told is not None:
        told_id, untold = told.last_id, [one for one in entries if one.last_id > told.last_id]
        if not untold and _reached(own, told_id) >= last_id:
            return Succession(entries=[], after=told, until_ms=told.end_ms, chain=_chain(found.entries, told))
        if _reached(untold, told_id) == last_id and _spans(own, told_id, last_id):
            chain = _chain(found.entries, told)
            return Succession(entries=[], after=told, until_ms=untold[-1].end_ms, chain=chain)
    if entries and _reached(own, last_id) >= last_id:
        entries[-1] = msgspec.structs.replace(entries[-1], cause="")
    after = entries[-1] if entries else told
    if after is None:
        return Succession(entries=entries)
    chain = _chain(found.entries | {one.first_id: one for one in entries}, after)
    return Succession(entries=entries, after=after, until_ms=after.end_ms, chain=chain)


def _chain(entries: Mapping[int, BookInterval], last: BookInterval) -> list[BookInterval]:
    """Those that go on without a break up to the last one, with that; none if it has a cause."""
    found = [] if last.cause else [last]
    for first_id in sorted(entries, reverse=True):
        one = entries[first_id]
        if found and not one.cause and one.last_id + 1 == found[0].first_id:
            found.insert(0, one)
    return found


class Heritage(NamedTuple):
    """A verified book that another loader has written. anchor_id: of the snapshot that verifies it.

    diffs: those that it has written behind the book, in their order; they are read as they are taken.
    """

    book: OrderBook
    anchor_id: int
    diffs: Iterator[DepthDiff]


def heritage(messages: Sequence[Message]) -> Heritage | None:
    """The last whole book on a topic; None: there is none that is verified up to where the ledger ends."""
    told = written(messages).told
    if told is None or told.trust is not Trust.VERIFIED or told.cause:
        return None
    for one in reversed(messages):
        if kind_name_of(one.key or b"") == CHECKPOINT:
            try:
                whole = _read_checkpoint(one.value)
            except DECODE_ERRORS:
                continue
            if not told.first_id <= whole.last_update_id <= told.last_id:
                return None
            return Heritage(book_of(whole), told.anchor_id or whole.last_update_id, _behind(whole, messages))
    return None


def _behind(whole: DepthCheckpoint, messages: Iterable[Message]) -> Iterator[DepthDiff]:
    for one in messages:
        try:
            if kind_name_of(one.key or b"") == DIFF and id_of(one.key or b"") > whole.last_update_id:
                yield diff_of(_read_diff(one.value))
        except (*DECODE_ERRORS, ValueError):
            continue


def id_of(key: bytes) -> int:
    """The last id of the diff whose record has the key. Raises ValueError."""
    return int(key.rpartition(b"_")[2])


def _spans(own: Sequence[BookInterval], after_id: int, until_id: int) -> bool:
    """Whether one entry has all between two ids, and more, or goes on.

    Two would meet at a time of the own diffs, which is not that of those on the topic.
    """
    behind = [one for one in own if one.first_id <= after_id + 1 and one.last_id >= until_id]
    return any(one.last_id > until_id or (one is own[-1] and not one.cause) for one in behind)


def _reached(intervals: Iterable[BookInterval], after_id: int) -> int:
    """The id up to which they go on behind another one without a break; 0: they do not.

    One that ended right there does not go on.
    """
    reached, goes_on = after_id, False
    for one in sorted(intervals, key=lambda one: one.first_id):
        if one.first_id <= reached + 1 and (one.last_id > reached or (one.last_id == reached and not one.cause)):
            reached, goes_on = one.last_id, True
    return reached if goes_on else 0
