"""Joins snapshots and diffs of one symbol, and says of each message how far it can be trusted. It does no I/O.

A worker hands over what it hears, asks for snapshots when it is told to (`wanted`), and takes what is to be published
and written down (`take`). Every diff that can be read is published once, whatever its trust: the ledger has that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import msgspec

from streamforge_utils.model.books.book_messages import BookTicker, DepthDiff, DepthSnapshot, checked, read_snapshot
from streamforge_utils.model.books.book_settings import BookSettings
from streamforge_utils.model.books.early_diffs import EarlyDiff, EarlyDiffs
from streamforge_utils.model.books.held_diffs import HeldDiffs
from streamforge_utils.model.books.order_book import OrderBook
from streamforge_utils.model.books.records import ID_DIGITS, checkpoint_of, depth_template, top_of
from streamforge_utils.model.books.snapshot_requests import Importance, SnapshotRequests, Wanted
from streamforge_utils.model.books.trust import BookInterval, BookLedger, Cause, Mark, Standing, Trust
from streamforge_utils.model.books.whole_times import WholeTimes
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import Record, key_symbol

_encode = msgspec.json.Encoder().encode
_DOUBTFUL = (Cause.GAP, Cause.CONTENT, Cause.CROSSED, Cause.WITNESS)
"""What comes after these is suspect; after the others there is only nothing that it could be compared with."""
_AFTER = {one: Standing(Trust.SUSPECT if one in _DOUBTFUL else Trust.UNVERIFIABLE, one) for one in Cause}
_VERIFIED = Trust.VERIFIED  # an attribute of an enumeration takes as long as a call
_MOST_OLD = 600
"""So many messages with ids that are behind us, one after the other, and none else: a minute of a stream."""


class Taken(msgspec.Struct, frozen=True):
    """What is to be published, and what is to be written down.

    keys, values: of records, in their order: diffs, and tops and checkpoints of the book after them. intervals: those
    that ended. refused: what came and can be no record, each with the reason.
    """

    keys: list[bytes]
    values: list[bytes]
    intervals: list[BookInterval]
    refused: list[tuple[bytes, str]]


class Synchroniser:
    """The book of one symbol, in step with its stream."""

    def __init__(
        self,
        symbol: str,
        settings: BookSettings = BookSettings(),  # noqa: B008 - it is frozen
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """chance: gives numbers from 0 to 1."""
        self.symbol = symbol
        self.book: OrderBook | None = None
        """None: there is none. It is as good as `standing` says."""
        self.ledger = BookLedger()
        self.duplicates = self.useless = 0
        """Messages that said nothing new; snapshots that fit to nothing held."""
        self.agreed = 0
        """Best prices of the exchange that were those of the verified book after the same update."""
        self.last_ms = 0
        """The exchange's time of the last message."""
        self.held = HeldDiffs(settings.held_diffs, settings.held_bytes)
        self._settings = settings
        self._template, self._prefix = depth_template(symbol), f"{key_symbol(symbol)}_".encode()
        self._cause: Cause | None = None
        self._gap, self._old = range(0), 0
        self._connection = self._jumped = 0
        self._early = EarlyDiffs(settings.early_diffs, settings.early_ms)
        self._holding = True
        self._ahead: DepthSnapshot | None = None
        self._anchor_id = 0
        self._tickers: dict[int, BookTicker] = {}
        self._witnessed = self._published = Mark(0, 0, 0)
        self._requests = SnapshotRequests(settings.retry_ms, settings.retry_most_ms, chance)
        self._now_us = 0
        self._times = WholeTimes(settings)
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._refused: list[tuple[bytes, str]] = []

    @property
    def standing(self) -> Standing:
        """How far the book can be trusted now."""
        return self.ledger.standing if self._cause is None else _AFTER[self._cause]

    @property
    def chain_first_id(self) -> int:
        """From this id on no update lacks up to now; 0: there is none."""
        return self.ledger.chain_first_id if self.ledger.next_id and self._cause is None else 0

    def take(self) -> Taken:
        """What there is since the last call. The interval that goes on is `ledger.open()`."""
        taken = Taken(self._keys, self._values, self.ledger.take(), self._refused)
        self._keys, self._values, self._refused = [], [], []
        return taken

    # What is heard

    def hear(self, diff: DepthDiff, payload: bytes, received_us: int, connection: int) -> None:
        """A diff of this symbol. payload: the message that it was read of. received_us: unix microseconds.

        connection: its number; a younger one has a greater number, and may be ahead of the one before it.
        """
        try:
            levels = checked(payload, diff)
        except PermanentError as error:
            self.refuse(payload, str(error))
            return
        self._now_us = received_us
        ledger, first_id, last_id = self.ledger, diff.first_id, diff.last_id
        expected = ledger.next_id
        if begins := connection > self._connection:
            self._connection = connection
        if expected and not first_id <= expected <= last_id:
            if last_id < expected:
                if not self._is_late(diff, connection):
                    return
                expected = -1
            elif self._early.waiting or (begins and self._cause is None):
                if not self._early.add(EarlyDiff(diff, payload, received_us, connection)):
                    self._hear_early()
                return
            else:
                self._jump(first_id, connection)
        key = self._prefix + (b"%d" % last_id).zfill(ID_DIGITS)
        self._keys.append(key)
        self._values.append(
            self._template
            % (key, received_us // 1000, first_id, last_id, diff.time_ms, received_us, connection, levels)
        )
        if expected < 0:
            return
        self._cause, self._old, self.last_ms = None, 0, diff.time_ms
        book = self.book
        if book is not None:
            self._follow(book, diff)
        if self._holding:
            self.held.add(diff, ledger.mark(), len(payload))
        ledger.add(first_id, last_id, diff.time_ms)
        if self._ahead is not None and last_id > self._ahead.last_id:
            snapshot, self._ahead = self._ahead, None
            self.useless += not self._begin_with(OrderBook.of_snapshot(snapshot), snapshot.last_id)
        if self._tickers:
            self._compare_held(last_id)
        if diff.time_ms >= self._times.due_ms:
            self._publish_book(diff.time_ms)
        if self._early.waiting:
            for one in self._early.take(ledger.next_id):
                self.hear(*one)

    def hear_ticker(self, ticker: BookTicker) -> None:
        """The exchange's best prices. They are compared with the book once it is the one after the same update."""
        if ticker.id >= self.ledger.next_id:
            if len(self._tickers) >= self._settings.held_tickers:
                self._tickers.clear()
            self._tickers[ticker.id] = ticker
        elif ticker.id == self.ledger.next_id - 1:
            self._compare(ticker)

    def refuse(self, payload: bytes, reason: str) -> None:
        """A message of this symbol that is none: what it would have said is lost, unless another one says it, too."""
        self._refused.append((payload, reason))
        self.interrupted(Cause.CONTENT)

    def interrupted(self, cause: Cause) -> None:
        """Messages may be lost from now on: no connection gives them, or they are dropped (`DISCONNECT`, `SLOW`)."""
        self._cause = cause
        self._hear_early()
        self._cause = cause

    def follow(self, after: BookInterval, messages: int, until_ms: int) -> None:
        """Another one has written all that is to be written up to the end of an interval, and tells of it.

        messages: of the open interval, so many lie behind. until_ms: when the last message that is written ends.
        """
        ledger, goes_on, after_id = self.ledger, self.ledger.open(), after.last_id
        self._gap = range(max(self._gap.start, after_id + 1), self._gap.stop)
        if ledger.next_id <= after_id:  # what comes of ids up to there comes too late
            self._let_go(holding=True)
            self._lose(self._cause or Cause.AWAITING)
            ledger.follow(after, 0, until_ms)
        elif goes_on is not None and goes_on.first_id <= after_id:
            ledger.follow(after, messages, until_ms)

    def stop(self) -> None:
        """Listening has ended: the open interval ends."""
        self._hear_early()
        self.ledger.begin(Cause.STOPPED)

    def _hear_early(self) -> None:
        """What lacks before the first diffs of a connection is not waited for any more."""
        for one in self._early.take_all():
            self.hear(*one)

    def _is_late(self, diff: DepthDiff, connection: int) -> bool:
        """Whether a message with ids that have passed says what lacked: it is written down, and may doubt a jump."""
        gap, first_id, last_id = self._gap, diff.first_id, diff.last_id
        is_late = bool(gap) and first_id < gap.stop and last_id >= gap.start
        if is_late:
            self.ledger.late(first_id, last_id, diff.time_ms)
            if first_id <= gap.start:
                self._gap = range(last_id + 1, gap.stop)
            elif last_id >= gap.stop - 1:
                self._gap = range(gap.start, first_id)
            if connection == self._jumped:  # one connection gives ids in order: the ids that jumped may be wrong
                self._let_go(holding=True)
                self._lose(Cause.GAP, self._witnessed)
        else:
            self.duplicates += 1
        self._old += 1
        if self._old >= _MOST_OLD:  # the ids themselves were wrong: go on with those that come
            self._old = 0
            self.ledger.begin(Cause.CONTENT)
            self._let_go(holding=True)
            self._lose(Cause.CONTENT)
        return is_late

    def _jump(self, first_id: int, connection: int) -> None:
        """Updates lack before `first_id`."""
        cause, self._jumped = self._cause or Cause.GAP, connection
        self._gap = range(self.ledger.next_id, first_id)
        self.ledger.begin(cause)
        self._let_go(holding=self._holding)
        if self.book is None or first_id > self.book.last_id + 1:
            self._lose(cause)

    # The book

    def _follow(self, book: OrderBook, diff: DepthDiff) -> None:
        """Lead the book on, and say what is to be thought of the message."""
        ledger = self.ledger
        if not diff.first_id <= book.last_id + 1 <= diff.last_id:
            if diff.last_id <= book.last_id:  # the snapshot has it already
                ledger.standing = _AFTER[Cause.AWAITING]
            else:
                self._lose(Cause.AWAITING)
            return
        book.apply(diff)
        bids, asks = book.bids, book.asks
        if (
            bids.best >= asks.best
            or bids.best < bids.due
            or asks.best > asks.due
            or ledger.standing.trust is not _VERIFIED
        ):
            self._judge(book)

    def _judge(self, book: OrderBook) -> None:
        """Say what is to be thought of messages from now on."""
        ledger = self.ledger
        if book.is_crossed:
            self._lose(Cause.CROSSED, self._witnessed)
        elif book.is_lost:
            ledger.standing = _AFTER[Cause.OUT_OF_BAND]
            self._requests.want(Importance.WALKED_OUT, self._now_us)
        else:
            if ledger.standing.trust is not _VERIFIED:
                ledger.standing = Standing(_VERIFIED, "", self._anchor_id)
                self._times.come_back()
            if book.is_due:
                self._requests.want(Importance.RENEW, self._now_us)

    def _lose(self, cause: Cause, since: Mark | None = None) -> None:
        """The book is not to be used any more. since: messages behind it are doubtful, too."""
        self.book = None
        self._holding = True
        if since is None:
            self.ledger.standing = _AFTER[cause]
        else:
            self.ledger.doubt_since(since, _AFTER[cause])
        self._requests.want(Importance.MISSING, self._now_us)

    def _compare_held(self, last_id: int) -> None:
        """Compare the best prices that came before their diff; those of updates between two diffs go."""
        tickers = self._tickers
        ticker = tickers.get(last_id)
        while tickers and (oldest := next(iter(tickers))) <= last_id:
            del tickers[oldest]
        if ticker is not None:
            self._compare(ticker)

    def _compare(self, ticker: BookTicker) -> None:
        book = self.book
        if book is None or book.last_id != ticker.id or self.ledger.standing.trust is not _VERIFIED:
            return
        if book.agrees(ticker):
            self.agreed += 1
            self._witnessed = self.ledger.mark()
            self.ledger.settle(self._witnessed)
        else:
            self._lose(Cause.WITNESS, self._witnessed)

    def _publish_book(self, time_ms: int) -> None:
        """Take the best levels, and all of them where it is time, if they are to be trusted."""
        book, version, settings = self.book, self._now_us // 1000, self._settings
        if book is None or self.ledger.standing.trust is not _VERIFIED:
            return
        top, whole = self._times.take(time_ms)
        if top:
            self._publish(top_of(book, self.symbol, time_ms, version, settings.top))
        if whole:
            self._publish(checkpoint_of(book, self.symbol, time_ms, version))

    def publish_whole(self) -> None:
        """Take the whole book now, if it is to be trusted: who goes on from here needs no snapshot."""
        book, ledger = self.book, self.ledger
        if book is not None and ledger.standing.trust is _VERIFIED and book.last_id + 1 == ledger.next_id:
            self._publish(checkpoint_of(book, self.symbol, self.last_ms, self._now_us // 1000))

    def _publish(self, record: Record) -> None:
        self._published = self.ledger.mark()
        self._keys.append(record.key.encode())
        self._values.append(_encode(record))

    # Snapshots

    def wanted(self, now_ms: int) -> Wanted | None:
        """The snapshot to ask for now; None: none is wanted, one is on its way, or it is too early to try again."""
        return self._requests.due(now_ms, self._settings.limit, self._settings.deep_limit)

    def rank(self) -> tuple[int, ...]:
        """Of the snapshots that several symbols want the one of the least rank goes first."""
        return self._requests.rank()

    def asked(self) -> None:
        """A snapshot is on its way: diffs are held until `hear_snapshot` or `snapshot_failed` is called."""
        self._requests.asked()
        self._holding = True

    def snapshot_failed(self, now_ms: int) -> None:
        """None came."""
        self._requests.failed(now_ms)

    def hear_snapshot(self, body: bytes, limit: int, now_ms: int) -> None:
        """The answer to GET /api/v3/depth with that limit. now_ms: of this machine's clock."""
        try:
            snapshot = read_snapshot(body, limit)
        except PermanentError as error:
            self._refused.append((body, str(error)))
            self.snapshot_failed(now_ms)
            return
        if self.ledger.next_id and snapshot.last_id >= self.ledger.next_id:
            self._ahead = snapshot
            self._requests.answered(now_ms, later=True)
        elif self._begin_with(OrderBook.of_snapshot(snapshot), snapshot.last_id):
            self._requests.answered(now_ms, later=False)
        else:
            self.useless += 1
            self.snapshot_failed(now_ms)

    def inherit(self, book: OrderBook, anchor_id: int, diffs: Iterable[DepthDiff]) -> None:
        """Go on with a verified book that another one has written, if that reaches what is held here.

        anchor_id: of the snapshot that verifies it. diffs: what that one has written behind it. The exchange is asked
        for the book, too, once nobody else needs a snapshot more.
        """
        self.held.reach(book, diffs, self.ledger.next_id)
        if self._begin_with(book, anchor_id, inherited=True):
            self._requests.want(Importance.RENEW, self._now_us)
            self._holding = self._requests.under_way

    def _begin_with(self, book: OrderBook, anchor_id: int, *, inherited: bool = False) -> bool:
        """Go on with a whole book. False: it is older than what is held, or what is held crosses it."""
        ledger, before = self.ledger, self.book
        if book.last_id + 1 < self.held.first_id(ledger.next_id) or not (led := self.held.lead(book, ledger.mark())):
            return False
        since, known = led
        is_same = before is not None and before.last_id == book.last_id
        if before is not None and is_same and before.differs(book):
            self._lose(Cause.WITNESS, self._witnessed)
            is_same = False
        if inherited:
            self._witnessed = Mark(0, 0, 0)  # when the one before last agreed with the exchange is not known
        elif not is_same or self._witnessed.messages < since.messages:
            self._witnessed = since  # the exchange itself says what the book was there
        ledger.settle(self._witnessed)
        self.book, self._anchor_id = book, anchor_id
        self._requests.met()
        self._let_go(holding=False)
        turns = ledger.standing.trust is not _VERIFIED
        if turns:
            if known.messages < self._published.messages:  # of a book that may have been wrong
                known = self._published
            ledger.turn_since(known, Standing(_VERIFIED, "", anchor_id))
        self._judge(book)
        self._times.begin()
        if turns and known.messages < ledger.mark().messages:
            self._publish_book(self.last_ms)  # with the next message it may be lost
        return True

    def _let_go(self, *, holding: bool) -> None:
        self.held.clear()
        self._holding = holding
