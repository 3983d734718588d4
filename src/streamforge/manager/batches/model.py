"""A batch as the manager remembers it: one request for many symbols. Times: unix milliseconds, UTC.

The batch is one small document; its members, a symbol each, lie in documents of `MEMBERS_A_DOCUMENT`. Each is changed
by compare-and-set, and one writer alone changes members: the driver.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from streamforge.manager.engine.stored_document import require_format
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model import names
from streamforge_utils.model.timeranges import TimeRange

FORMAT = 1
"""Version of these documents' form; a newer one is refused by name."""
MEMBERS_A_DOCUMENT = 100
MOST_SYMBOLS = 10_000
"""Of one batch."""

_BATCH_ID = re.compile(r"batch-[a-z0-9._-]{1,60}-[0-9]{8}-[0-9a-z]{6}")


class BatchStatus(StrEnum):
    """Where a batch stands; the last three are ends.

    making: its members are being stored. removing: they are being removed. A batch that is left so was cut short.
    finished: every member is. error: a member failed. interrupted: none failed, and one is not finished.
    """

    MAKING = "making"
    REMOVING = "removing"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    ERROR = "error"


BATCH_ENDED = frozenset({BatchStatus.FINISHED, BatchStatus.INTERRUPTED, BatchStatus.ERROR})
CUT_SHORT = frozenset({BatchStatus.MAKING, BatchStatus.REMOVING})


class MemberStatus(StrEnum):
    """Where a member stands.

    waiting: its workflow is not made yet, or not retried. live: its workflow has not ended. closed: it is finished, as
    there is nothing to load. removed: its workflow was removed. The others are those of its workflow.
    """

    WAITING = "waiting"
    LIVE = "live"
    FINISHED = "finished"
    CLOSED = "closed"
    INTERRUPTED = "interrupted"
    ERROR = "error"
    REMOVED = "removed"


FAILED = frozenset({MemberStatus.INTERRUPTED, MemberStatus.ERROR})
RETRIED = FAILED | {MemberStatus.REMOVED}
"""What a retry of the batch takes up again."""
PROVEN = frozenset({MemberStatus.FINISHED, MemberStatus.CLOSED})


class Member(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A symbol of a batch.

    span: its range, of `since last`, once its coverage was asked where that ends.
    delisted: the exchange did not trade it when the batch was made. archived: only its archive had it.
    joined: another request had made its workflow.
    expected, stored, there: records of the range, those that are stored, and those of them that were before.
    reason, next_step: why it is not finished, or why there is nothing to load, and what a person can do. code: of its
    failure.
    """

    symbol: str
    status: MemberStatus = MemberStatus.WAITING
    delisted: bool = False
    archived: bool = False
    span: TimeRange | None = None
    queue_id: str = ""
    joined: bool = False
    expected: int = 0
    stored: int = 0
    there: int = 0
    reason: str = ""
    next_step: str = ""
    code: str = ""


class Members(msgspec.Struct, frozen=True):
    """What one document holds of them."""

    members: tuple[Member, ...]
    format: int = FORMAT


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a batch, added up. statuses: how many there are of each."""

    statuses: dict[str, int] = {}
    joined: int = 0
    expected: int = 0
    stored: int = 0
    there: int = 0

    @classmethod
    def of(cls, members: Iterable[Member]) -> Totals:
        """Those of `members`."""
        members = tuple(members)
        return cls(
            statuses=dict(Counter(member.status.value for member in members)),
            joined=sum(member.joined for member in members),
            expected=sum(member.expected for member in members),
            stored=sum(member.stored for member in members),
            there=sum(member.there for member in members),
        )

    def count(self, statuses: Iterable[MemberStatus]) -> int:
        """How many members have one of `statuses`."""
        return sum(self.statuses.get(status.value, 0) for status in statuses)

    @property
    def ended(self) -> int:
        """Members that neither wait nor go on."""
        return sum(self.statuses.values()) - self.count((MemberStatus.WAITING, MemberStatus.LIVE))


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request for many symbols.

    asked: the symbols and patterns, as a short text. requested, span: the range as it was written, and as it is for
    every member; of `since last`, whose members have their own, from default_start (as in `StartRequest`) or this day
    on. exchange_now_ms: the exchange's clock when it was accepted. listed_at_ms: members that did not exist then are
    closed. size: members; delisted: those that the exchange did not trade then; duplicates: how often a
    symbol was named again, and duplicated: the first of these symbols. archived: members that only the exchange's
    archive had. left_out: symbols of a pattern that only it has and that are not loaded; left_out_first: the first of
    them. archive_silence: why it is not known which symbols only the archive has. unknown: symbols that were named,
    that nobody has and that are not loaded; unknown_first: the first of them. labels: of each of its workflows.
    stop_asked, retry_asked: what the driver has still to do. began_ms: when it began, or was last retried;
    ended_before: members that had ended by then.
    """

    format: int = FORMAT
    batch_id: str
    created_ms: int
    exchange_now_ms: int
    type: str
    requested: str
    span: TimeRange
    clipped: bool = False
    default_start: str | None = None
    again: bool = False
    asked: str
    listed_at_ms: int | None = None
    size: int
    delisted: int = 0
    duplicates: int = 0
    duplicated: tuple[str, ...] = ()
    left_out: int = 0
    left_out_first: tuple[str, ...] = ()
    archived: int = 0
    archive_silence: str = ""
    unknown: int = 0
    unknown_first: tuple[str, ...] = ()
    source: SourceChoice = SourceChoice.AUTO
    labels: dict[str, str] = {}
    status: BatchStatus = BatchStatus.MAKING
    stop_asked: bool = False
    retry_asked: bool = False
    began_ms: int
    ended_before: int = 0
    ended_ms: int | None = None
    totals: Totals = Totals()

    @property
    def ended(self) -> bool:
        return self.status in BATCH_ENDED


def batch_id(type_name: str, start_ms: int, code: str) -> str:
    """`batch-api_candles_1m-20240801-abc123`. code: as a workflow's."""
    return f"batch-{names.queue_id('x', type_name, start_ms, code).removeprefix('wf-x-')}"


def is_batch_id(text: str) -> bool:
    """Whether `text` has the form of a batch_id."""
    return len(text) <= names.LABEL_LIMIT + 10 and _BATCH_ID.fullmatch(text) is not None


def end_of(totals: Totals) -> BatchStatus:
    """How a batch ends whose members have all ended."""
    if totals.count((MemberStatus.ERROR,)):
        return BatchStatus.ERROR
    return BatchStatus.FINISHED if totals.ended == totals.count(PROVEN) else BatchStatus.INTERRUPTED


def documents_of(members: Sequence[Member]) -> list[Members]:
    """`members` as they are stored."""
    starts = range(0, len(members), MEMBERS_A_DOCUMENT)
    return [Members(tuple(members[start : start + MEMBERS_A_DOCUMENT])) for start in starts]


def decode_batch(body: bytes) -> Batch:
    """Read a batch. Raises ConfigError for one of a newer version, or MsgspecError."""
    require_format(body, FORMAT)
    return msgspec.json.decode(body, type=Batch)


def decode_members(body: bytes) -> tuple[Member, ...]:
    """Read a document of members. Raises ConfigError for one of a newer version, or MsgspecError."""
    require_format(body, FORMAT)
    return msgspec.json.decode(body, type=Members).members
