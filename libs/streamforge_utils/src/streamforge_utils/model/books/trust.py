"""How far what a stream of diffs gave can be trusted, by the ids of its updates."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from streamforge_utils.model.completeness.continuity import MOST_TURNED, Unbroken

_replace = msgspec.structs.replace


class Trust(StrEnum):
    """Of each message. verified: a book that began with a snapshot was led through it, and is not crossed.

    unverifiable: it follows the one before, and nothing speaks against it; but no snapshot reaches it, or the best
    price is beyond what the snapshot knew. suspect: something before it, or in it, was lost or wrong.
    """

    VERIFIED = "verified"
    UNVERIFIABLE = "unverifiable"
    SUSPECT = "suspect"


class Cause(StrEnum):
    """Why messages are not verified, or why a chain of them ended.

    disconnect: no connection gave them. sequence gap: updates lack between two messages. awaiting snapshot: none has
    come, or only such as are older than the first message that is held. sink too slow: messages were dropped because
    nobody took them. bad content: a message could not be read, or says what cannot be true. crossed: somebody bids as
    much as another one asks. out of band: the best price is beyond what the snapshot knew. witness differs: the
    exchange's best prices, or a new snapshot, are others. stopped: nobody listens any more.
    loader ended: it did so without a word.
    """

    DISCONNECT = "disconnect"
    GAP = "sequence gap"
    AWAITING = "awaiting snapshot"
    SLOW = "sink too slow"
    CONTENT = "bad content"
    CROSSED = "crossed"
    OUT_OF_BAND = "out of band"
    WITNESS = "witness differs"
    STOPPED = "stopped"
    ENDED = "loader ended"


class BookInterval(Unbroken, frozen=True, kw_only=True):
    """Messages without a break, of one trust. why: they are not verified; empty if they are.

    anchor_id: `lastUpdateId` of the snapshot with which the book began that verifies them. messages: how many.
    """

    trust: Trust
    why: str = ""
    anchor_id: int | None = None
    messages: int = 0

    @property
    def doubt(self) -> str:
        return "" if self.trust is Trust.VERIFIED else f"{self.trust.value}: {self.why}"


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A place in the ledger, right behind a message. messages: so many came up to it, in all."""

    messages: int
    last_id: int
    end_ms: int


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What is said of messages, as in `BookInterval`."""

    trust: Trust
    why: str = ""
    anchor_id: int | None = None


class BookLedger:
    """The intervals of one symbol, in the order in which they ended; the last one is open.

    One that ended is told once more, under its first id, where it is doubted later: the last one told counts.

    Neighbours of one chain meet by id and by time. Times are those of the messages: an interval ends a millisecond
    after its last one, and is not empty where its messages have the time of one before.
    """

    def __init__(self) -> None:
        self.next_id = 0
        """The id that the next message must reach; 0: any."""
        self.chain_first_id = 0
        """The first id of the chain."""
        self.counts = dict.fromkeys(Trust, 0)
        """Messages in the intervals that ended, by trust."""
        self.standing = Standing(Trust.UNVERIFIABLE, Cause.AWAITING)
        """Of the messages that come now."""
        self._unsettled: list[tuple[int, BookInterval]] = []
        """Intervals of the chain that ended and can be turned, each with the messages before it."""
        self._open = self.standing
        self._messages = self._before = 0  # in all, and before the open interval
        self._first_id = self._start_ms = self._end_ms = 0
        self._ended: list[BookInterval] = []
        self._after: BookInterval | None = None
        self._others = 0  # so many messages lie before those that are counted

    def add(self, first_id: int, last_id: int, time_ms: int) -> None:
        """A message that follows, or begins a chain."""
        if self._open is not self.standing:
            self._end("")
            self._open = self.standing
        if self._messages == self._before:
            if not self.next_id:
                self.chain_first_id, self._end_ms = first_id, time_ms
            self._first_id, self._start_ms = self.next_id or first_id, self._end_ms
            self._after = None
        self.next_id = last_id + 1
        self._messages += 1
        if time_ms >= self._end_ms:
            self._end_ms = time_ms + 1
        elif self._end_ms == self._start_ms:
            self._end_ms += 1

    def mark(self) -> Mark:
        """This place."""
        return Mark(self._messages, self.next_id - 1, self._end_ms)

    def turn_since(self, mark: Mark, standing: Standing) -> None:
        """Messages behind the mark, as far as their interval is open, and those from now on have another standing."""
        self.standing = standing
        now = self.mark()
        if mark.messages <= self._before:
            self._open = standing
        elif mark.messages < now.messages:
            self._go_to(mark)
            self._end("")
            self._open, self._first_id, self._start_ms = standing, mark.last_id + 1, mark.end_ms
            self._go_to(now)
            self._end_ms = max(now.end_ms, mark.end_ms + 1)

    def doubt_since(self, mark: Mark, standing: Standing) -> None:
        """As `turn_since`, and intervals that ended behind the mark are told again, too."""
        unsettled, self._unsettled = self._unsettled, []
        for before, one in unsettled:
            if one.last_id > mark.last_id:
                # Of those of another ledger the count is of other messages, maybe, and so are the times.
                behind = max(1, min(before + one.messages - mark.messages, one.messages))
                count = one.messages - behind if one.first_id <= mark.last_id else 0
                whole = one
                if count and one.start_ms < mark.end_ms < one.end_ms:
                    first = _replace(one, last_id=mark.last_id, end_ms=mark.end_ms, messages=count, cause="")
                    self._ended.append(first)
                    one = _replace(one, first_id=mark.last_id + 1, start_ms=mark.end_ms, messages=behind)
                turned = self._turned(before, one, standing)
                self._unsettled.append((before + whole.messages - one.messages, turned))
                if self._after is not None and self._after.last_id == one.last_id:
                    self._after = turned
        self.turn_since(mark, standing)

    def settle(self, mark: Mark) -> None:
        """Nothing that comes speaks against messages up to the mark any more."""
        self._unsettled = [(before, one) for before, one in self._unsettled if one.last_id > mark.last_id]

    def keep_only(self, told: Sequence[BookInterval], others: Sequence[BookInterval] = ()) -> None:
        """Of the intervals that ended, these are told, with what they have still.

        others: of another ledger, whose chain goes on here: they are told again, too, where they are doubted.
        """
        by_id = {one.last_id: one for one in told}
        kept = [
            (before + one.messages - mine.messages, mine)
            for before, one in self._unsettled
            if (mine := by_id.get(one.last_id)) is not None
        ]
        before = self._others = kept[0][0] if kept else self._before
        for one in reversed(others[max(0, len(others) + len(kept) - MOST_TURNED) :]):
            before -= one.messages
            kept.insert(0, (before, one))
        self._unsettled = kept

    def begin(self, cause: str) -> None:
        """The chain ended; the next message begins another one."""
        self._end(cause)
        self._unsettled = []
        self.next_id = 0

    def follow(self, after: BookInterval, messages: int, until_ms: int) -> None:
        """Another ledger has the chain up to the end of its last interval: the open one begins behind that.

        messages: of the open interval, so many lie behind; where none does, a break behind ends the one before. If the
        chain does not reach there, the next message must. until_ms: the open interval ends no earlier.
        """
        self._before = self._messages - messages
        self._first_id, self._start_ms = after.last_id + 1, after.end_ms
        self._after = None if messages or after.cause else after
        if self.next_id <= after.last_id:
            self.next_id = self.chain_first_id = after.last_id + 1
        self._end_ms = max(self._end_ms, until_ms)

    def late(self, first_id: int, last_id: int, time_ms: int) -> None:
        """A message that came after a later chain had begun."""
        self.counts[Trust.SUSPECT] += 1
        one = BookInterval(
            first_id=first_id,
            last_id=last_id,
            start_ms=time_ms,
            end_ms=time_ms + 1,
            cause=Cause.GAP,
            trust=Trust.SUSPECT,
            why=Cause.GAP,
            messages=1,
        )
        self._ended.append(one)

    def open(self) -> BookInterval | None:
        """The interval that goes on; None: there is none yet."""
        return self._interval("") if self._messages > self._before else None

    def take(self) -> list[BookInterval]:
        """The intervals that ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def _keep(self, one: BookInterval) -> None:
        """Tell the open interval, which ends; it can be turned as long as few others have ended since."""
        self._ended.append(one)
        self._unsettled.append((self._before, one))
        if len(self._unsettled) > MOST_TURNED:
            before, oldest = self._unsettled.pop(0)
            if oldest.trust is Trust.VERIFIED:  # that cannot be taken back any more
                self._turned(before, oldest, Standing(Trust.UNVERIFIABLE, Cause.AWAITING))

    def _turned(self, before: int, one: BookInterval, standing: Standing) -> BookInterval:
        """Tell an interval that ended with another standing. before: so many messages lie before it."""
        if before >= self._others:
            self.counts[one.trust] -= one.messages
            self.counts[standing.trust] += one.messages
        turned = _replace(one, trust=standing.trust, why=standing.why, anchor_id=standing.anchor_id)
        self._ended.append(turned)
        return turned

    def _go_to(self, mark: Mark) -> None:
        self._messages, self.next_id, self._end_ms = mark.messages, mark.last_id + 1, mark.end_ms

    def _end(self, cause: str) -> None:
        if self._messages > self._before:
            self.counts[self._open.trust] += self._messages - self._before
            self._keep(self._interval(cause))
            self._before = self._messages
        elif cause and self._after is not None:
            self._ended.append(msgspec.structs.replace(self._after, cause=cause))
        self._after = None

    def _interval(self, cause: str) -> BookInterval:
        return BookInterval(
            first_id=self._first_id,
            last_id=self.next_id - 1,
            start_ms=self._start_ms,
            end_ms=self._end_ms,
            cause=cause,
            trust=self._open.trust,
            why=self._open.why,
            anchor_id=self._open.anchor_id,
            messages=self._messages - self._before,
        )
