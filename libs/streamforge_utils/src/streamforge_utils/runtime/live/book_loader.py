"""Loads the order book of one symbol: diffs, the ledger that says how far each is trusted, and books now and then."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import dropwhile
from typing import Annotated, NoReturn

import msgspec

from streamforge_utils.model.books.book_messages import BookTicker, DepthDiff, read_snapshot
from streamforge_utils.model.books.book_pages import behind, joined, page_of
from streamforge_utils.model.books.book_settings import BookSettings
from streamforge_utils.model.books.ledger_ending import ending
from streamforge_utils.model.books.records import DIFF, interval_record, kind_name_of
from streamforge_utils.model.books.snapshot_requests import Wanted
from streamforge_utils.model.books.streams import BookHeard, ticker_stream
from streamforge_utils.model.books.succession import heritage, id_of, succession, written
from streamforge_utils.model.books.synchroniser import Synchroniser
from streamforge_utils.model.books.trust import BookInterval, Cause, Trust
from streamforge_utils.model.books.witness import Witness
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.kinds.streaming import Heard
from streamforge_utils.model.messages import Live
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import MessageColumns
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.live.live_worker import LiveParameters, LiveWorker
from streamforge_utils.runtime.live.page_queue import PageQueue
from streamforge_utils.runtime.live.stream_session import Overdue

TELL_S = 1.0
"""The interval that goes on is told so often, at most: behind a kill so much is of unknown trust."""
FIRST_S = 2.0
"""The first snapshot is asked for once a diff has come, or after this time: a quiet symbol has none."""
CATCH_UP_S = 5.0
"""What another attempt has written may still be on its way here for so long."""
SKEW_MS = 5_000
"""The clock of another attempt may be ahead by so much: its entries are older than those of this one."""
PATIENCE_S = 10.0
"""A book that follows what is written waits so long for a snapshot of its own; then it may go on without."""
BATCH_RECORDS = 5000
BATCH_BYTES = 2_000_000
_LOOK_S = 0.25
_FEW_LEVELS = 5
_SNAPSHOT = "snapshot"
_REASON_CHARACTERS = 200
_encode = msgspec.json.Encoder().encode


class BookParameters(LiveParameters, frozen=True, kw_only=True):
    """What can be chosen for a loader of order books."""

    limit: Annotated[
        int,
        msgspec.Meta(ge=5, le=5000, description="levels a side of a snapshot, of weight 5 to 250; also `LIMIT`"),
        msgspec.Meta(extra={"unit": "levels"}),
    ] = 1000
    top_levels: Annotated[
        int,
        msgspec.Meta(ge=1, le=5000, description="best levels a side that are published as `depth_top`"),
        msgspec.Meta(extra={"unit": "levels"}),
    ] = 20
    top_seconds: Annotated[
        float,
        msgspec.Meta(gt=0, description="how often the best levels are published"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 10.0
    checkpoint_seconds: Annotated[
        float,
        msgspec.Meta(gt=0, description="how often the whole book is published, as `depth_checkpoint`"),
        msgspec.Meta(extra={"unit": "seconds"}),
    ] = 300.0


async def load_book(ctx: Context[BookParameters]) -> None:
    """Load until cancelled; what was heard is written before it ends, if the bus takes it in time.

    Raises what the streams, the exchange and the output raise.
    """
    await BookLoader(ctx).run()


class BookLoader(LiveWorker[BookParameters]):
    """Moves what is heard to the synchroniser, and what that gives to the topic.

    Records of a batch go before what the ledger says of them: an entry on the topic claims nothing that is not there.
    While the bus takes nothing they wait in memory, then on disk; what is too much even for that is not heard, and the
    ledger says so.
    """

    def __init__(self, ctx: Context[BookParameters]) -> None:
        super().__init__(ctx)
        parameters = ctx.parameters
        settings = BookSettings(
            limit=parameters.limit,
            top=parameters.top_levels,
            top_every_ms=max(1, int(parameters.top_seconds * 1000)),
            checkpoint_every_ms=max(1, int(parameters.checkpoint_seconds * 1000)),
        )
        self._book = Synchroniser(ctx.series.symbol, settings)
        self._queue = PageQueue(ctx.scratch, parameters.buffer_bytes, parameters.spill_bytes)
        self._first: Page | None = None  # is written before what the queue has
        self._stopped = False
        self._shadows = ctx.handover.in_shadow
        self._ids = deque[int]()  # in shadow, of the diffs that are held, and of those before that the ledger lacks
        self._ended: list[BookInterval] = []  # in shadow, of the ledger
        self._follows_since: float | None = None  # in shadow, what is written
        self._late = set[int]()  # of diffs that came late, and which another attempt had to write
        self._heard_first = asyncio.Event()
        self._witness = Witness()
        self._ticker_id = self._newest_id = 0
        self._told: BookInterval | None = None
        self._told_at = -TELL_S
        self._version = 0
        self._dropped = 0
        self._snapshots = 0
        self._last_id: int | None = None

    def close(self) -> None:
        self._queue.close()

    # What is heard

    def hear(self, heard: Heard) -> None:
        messages = heard.messages if isinstance(heard, BookHeard) else ()
        if self._queue.full:
            self._dropped += len(messages)
            self._book.interrupted(Cause.SLOW)
            self._witness.interrupted()
            return
        book, received_us, connection = self._book, heard.received_us, heard.connection
        for payload, message in messages:
            if type(message) is DepthDiff:
                book.hear(message, payload, received_us, connection)
            elif type(message) is BookTicker:
                self._ticker_id = max(self._ticker_id, message.id)
                book.hear_ticker(message)
            else:
                book.refuse(payload, str(message))
        if heard.positions:
            self._heard_first.set()
        self._collect()

    def interrupted(self) -> None:
        self._book.interrupted(Cause.DISCONNECT)
        self._witness.interrupted()

    def overdue(self) -> Overdue | None:
        self._witness.look(self._book, self._ticker_id, self._ctx.clock.monotonic())
        since = self._witness.due_since
        return None if since is None else Overdue(ticker_stream(self._ctx.series), since)

    async def newer(self) -> bool:
        known = max(self._book.ledger.next_id - 1, self._newest_id)  # what was missed once comes never again
        newest_id = self._ticker_id
        if newest_id <= known:
            body = await self._backfill.snapshot(_FEW_LEVELS)
            try:
                newest_id = read_snapshot(body, _FEW_LEVELS).last_id
            except PermanentError as error:
                raise RetryableError(str(error)) from error
        self._newest_id = max(self._newest_id, newest_id)
        return newest_id > known

    def _collect(self) -> None:
        """Queue what the synchroniser has to publish, and what the ledger says of it behind that."""
        taken, ledger = self._book.take(), self._book.ledger
        keys, values = taken.keys, taken.values
        intervals = [*taken.intervals]
        if self._shadows:
            self._ids += [id_of(key) for key in keys if kind_name_of(key) == DIFF]
            again = {one.first_id for one in intervals}
            self._ended = [*(one for one in self._ended if one.first_id not in again), *intervals]
            intervals = []
        elif (goes_on := ledger.open()) is not None and self._is_due(goes_on):
            self._told, self._told_at = goes_on, self._ctx.clock.monotonic()
            intervals.append(goes_on)
        for one in intervals:
            key, value = self._entry(one)
            keys.append(key)
            values.append(value)
        if taken.refused:
            self.refuse(Heard(refused=taken.refused))
        if keys:
            last_id = ledger.mark().last_id if ledger.next_id else intervals[-1].last_id if intervals else 0
            self._queue.put(Page([last_id] * len(keys), [self._book.last_ms] * len(keys), keys, values))
            self._ready.set()

    def _is_due(self, goes_on: BookInterval) -> bool:
        told = self._told
        if told is None or (goes_on.first_id, goes_on.trust) != (told.first_id, told.trust):
            return True
        return goes_on != told and self._ctx.clock.monotonic() - self._told_at >= TELL_S

    def _entry(self, interval: BookInterval, version: int | None = None) -> tuple[bytes, bytes]:
        """The message about an interval. version: None: greater than that of all before."""
        if version is None:
            version = self._version = max(self._version + 1, self._ctx.clock.now_ms())
        record = interval_record(interval, self._ctx.series.symbol, version)
        return record.key.encode(), _encode(record)

    # Snapshots

    async def repair(self) -> NoReturn:
        if not self._shadows:
            await self._begun.wait()
        await self._connected.wait()
        for _ in range(int(FIRST_S / _LOOK_S)):
            if not self._heard_first.is_set():
                await self._ctx.clock.sleep(_LOOK_S)
        while True:
            wanted = self._book.wanted(self._ctx.clock.now_ms())
            if wanted is not None:
                await self._ask(wanted)
            if not self._queue.full:
                self._collect()
            await self._ctx.clock.sleep(_LOOK_S)

    # What another attempt has written

    async def begin(self) -> None:
        """Close the ledger of the attempt before, which may have ended without a word, or go on with it."""
        messages = await self._ctx.tail.read()
        found = written(messages)
        version = None
        if found.version:
            version = found.version + 1
            self._version = max(version, self._ctx.clock.now_ms() + SKEW_MS)
        if self._shadows:
            await self._catch_up(found.last_id)
        entries = self._succeed(messages) if self._shadows else ending(messages)
        # What the one before has sent may still be on its way: where it knew more of these, that counts.
        told = [self._entry(one, version) for one in entries]
        if told:
            self._first = joined([page_of(0, 0, told), *([self._first] if self._first else [])])

    async def _catch_up(self, last_id: int) -> None:
        """Return once all up to an id came here, too, if it will soon."""
        ledger = self._book.ledger
        for _ in range(int(CATCH_UP_S / _LOOK_S)):
            if ledger.next_id > last_id or not 0 < ledger.chain_first_id <= last_id:
                break
            await self._ctx.clock.sleep(_LOOK_S)

    async def follows(self, messages: Sequence[Received]) -> bool:
        found, book = written(messages), self._book
        self._let_go(found.last_id, found.told_id)
        goes_on, first_id, last_id = book.ledger.open(), book.chain_first_id, found.last_id
        if goes_on is None or not first_id or (last_id and first_id > last_id + 1):
            self._follows_since = None
            return False
        now = self._ctx.clock.monotonic()
        if self._follows_since is None:
            self._follows_since = now
        verified = {goes_on.trust, book.standing.trust} == {Trust.VERIFIED}
        if verified and (not last_id or goes_on.first_id <= last_id + 1):
            return True
        return now - self._follows_since >= PATIENCE_S  # the one before leaves its book

    def _let_go(self, last_id: int, told_id: int) -> None:
        """Hold no records of updates up to `last_id`, nor what the own ledger says of them up to `told_id`."""
        while (page := self._first or self._queue.get()) is not None:
            self._first = page
            if page.positions[-1] > last_id:
                break
            self._first = None
        while self._ids and self._ids[0] <= told_id:
            self._ids.popleft()
        self._ended = [one for one in self._ended if one.last_id > told_id]

    def _succeed(self, messages: Sequence[Received]) -> list[BookInterval]:
        """Hold what follows the records on the topic; returns what is to be written of the ledger first.

        What the own ledger says goes behind the records of which it does.
        """
        self._collect()
        self._shadows = False
        found, ledger = written(messages), self._book.ledger
        self._let_go(found.last_id, found.told_id)
        self._late = {one for one in dropwhile(lambda one: one <= found.last_id, self._ids) if one <= found.last_id}
        if self._first is not None:
            self._first = self._in_time(behind(self._first, found.last_id))
        goes_on = ledger.open()
        before = succession(messages, [*self._ended, *([goes_on] if goes_on else [])])
        own = [self._clipped(one, before.after) for one in self._ended if one.last_id > before.after_id]
        if before.after is not None:
            count = 0 if goes_on is None else self._clipped(goes_on, before.after).messages
            self._book.follow(before.after, count, before.until_ms)
        self._queue.put(page_of(0, 0, [self._entry(one) for one in own]))
        self._ids.clear()
        ledger.keep_only(own, before.chain)
        self._ended = []
        if ledger.standing.trust is not Trust.VERIFIED and (left := heritage(messages)) is not None:
            self._book.inherit(*left)
        return before.entries

    def _clipped(self, one: BookInterval, after: BookInterval | None) -> BookInterval:
        """An entry of the own ledger without what another attempt's has."""
        if after is None or one.first_id > after.last_id:
            return one
        messages = sum(after.last_id < each <= one.last_id for each in self._ids)
        return msgspec.structs.replace(one, first_id=after.last_id + 1, start_ms=after.end_ms, messages=messages)

    async def _ask(self, wanted: Wanted) -> None:
        """Ask for a snapshot once, and hand it over."""
        clock, progress = self._ctx.clock, self._ctx.progress
        self._book.asked()
        try:
            body = await self._backfill.snapshot(wanted.limit, self._book.rank)
        except RetryableError as error:
            self._book.snapshot_failed(clock.now_ms())
            pause_s = error.retry_after or 0.0
            self._ctx.log.warning("no snapshot of the order book came", error=str(error), pause_seconds=pause_s)
            progress.wait(_SNAPSHOT, str(error)[:_REASON_CHARACTERS], clock.now_ms() + int(pause_s * 1000))
            await clock.sleep(pause_s)
        else:
            self._snapshots += 1
            self._book.hear_snapshot(body, wanted.limit, clock.now_ms())
            progress.wait(_SNAPSHOT, None)

    # What is written

    async def write(self) -> bool:
        if self._closing and not self._stopped:
            self._stopped = True
            self._told = None  # the entry that goes on is told once more
            if self._ctx.handover.handed_over:
                self._book.publish_whole()
            else:
                self._book.stop()
            self._collect()
        page, self._first = self._first or self._batch(), None
        if page is None:
            return False
        await self._ctx.output.write(MessageColumns(page.keys, page.values))
        if page.positions[-1]:
            self._ctx.progress.position, self._last_id = page.times[-1], page.positions[-1]
        return True

    def _batch(self) -> Page | None:
        """What waits, as much as is written at once."""
        pages, records, size = list[Page](), 0, 0
        while records < BATCH_RECORDS and size < BATCH_BYTES and (page := self._queue.get()) is not None:
            page = self._in_time(page)
            pages.append(page)
            records += len(page)
            size += sum(map(len, page.values))
        return joined(pages) if records else None

    def _in_time(self, page: Page) -> Page:
        """A page without the diffs that came late; these are known no more."""
        if not self._late:
            return page
        ids = [id_of(key) if kind_name_of(key) == DIFF else 0 for key in page.keys]
        kept = [n for n, one in enumerate(ids) if one not in self._late]
        self._late -= {*ids}
        return Page(
            positions=[page.positions[n] for n in kept],
            times=[page.times[n] for n in kept],
            keys=[page.keys[n] for n in kept],
            values=[page.values[n] for n in kept],
        )

    def told(self) -> Live:
        ledger, standing = self._book.ledger, self._book.standing
        counts, goes_on, agreed_at = {**ledger.counts}, ledger.open(), self._witness.agreed_at
        if goes_on is not None:
            counts[goes_on.trust] += goes_on.messages
        return Live(
            last_id=self._last_id,
            held_bytes=self._queue.bytes,
            duplicates=self._book.duplicates,
            dropped=self._dropped,
            trust=standing.trust,
            why=standing.why,
            verified=counts[Trust.VERIFIED],
            unverifiable=counts[Trust.UNVERIFIABLE],
            suspect=counts[Trust.SUSPECT],
            agreed=self._book.agreed,
            agreed_age_s=None if agreed_at is None else round(self._ctx.clock.monotonic() - agreed_at, 3),
            unchecked_s=round(self._witness.unchecked_s, 3),
            snapshots=self._snapshots,
            **self.told_by_all(),
        )
