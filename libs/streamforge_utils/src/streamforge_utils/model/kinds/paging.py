"""How an exchange's REST interface gives records of a kind: one request, and how its answer becomes records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms

_encode = msgspec.json.Encoder().encode


class ByTime(msgspec.Struct, frozen=True):
    """Asks for the records of `span`, ascending, at most `limit`: the oldest ones, or the newest.

    limit: None is as many as one answer may hold. places: positions and times alone are wanted: the answer need not
    have keys and values, which may make it cheaper.
    """

    span: TimeRange
    limit: int | None = None
    newest: bool = False
    places: bool = False

    def __str__(self) -> str:
        # A span from the epoch on asks for all that there is up to its end.
        return str(self.span) if self.span.start_ms else f"up to {format_ms(self.span.end_ms)}"


class ById(msgspec.Struct, frozen=True):
    """Asks for the records from the id `first_id` on, ascending, at most `limit` (None: as many as an answer holds)."""

    first_id: int
    limit: int | None = None

    def __str__(self) -> str:
        return f"from id {self.first_id}"


Question = ByTime | ById


class SentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it was sent, and when.

    question: what is wanted. sent: what the exchange was asked for, which may be wider. limit: records at most.
    observed_ms: a moment at the exchange that is not after its data were read. local_ms: the same by the local clock.
    """

    series: Series
    question: Question
    sent: Question
    limit: int
    observed_ms: int
    local_ms: int


class Page(msgspec.Struct, frozen=True, gc=False):
    """The records of an answer as they travel, ascending, each once.

    positions: their places in the series (an open time, an id). times: when they happened, unix milliseconds.
    keys, values: of the messages. dropped: rows of the answer that were left out or moved, by reason.
    """

    positions: Sequence[int]
    times: Sequence[int]
    keys: Sequence[bytes]
    values: Sequence[bytes]
    dropped: Mapping[str, int] = {}

    def __len__(self) -> int:
        return len(self.positions)


def page_of(records: Iterable[tuple[int, int, Any]], asked: SentRequest) -> Page:
    """A page of records that never change, each with its position and its time; each is encoded as JSON.

    They may come in any order. What comes twice, or was not asked for, is left out.
    """
    question, found, dropped = asked.question, dict[int, tuple[int, Any]](), dict[str, int]()
    for position, time_ms, record in records:
        wanted = position >= question.first_id if isinstance(question, ById) else time_ms in question.span
        if not wanted or position in found:
            reason = "repeated" if wanted else "unasked"
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            found[position] = (time_ms, record)
    ordered = sorted(found.items())
    newest = isinstance(question, ByTime) and question.newest
    chosen = ordered[-asked.limit :] if newest else ordered[: asked.limit]
    return Page(
        positions=[position for position, _ in chosen],
        times=[time_ms for _, (time_ms, _) in chosen],
        keys=[record.key.encode() for _, (_, record) in chosen],
        values=[_encode(record) for _, (_, record) in chosen],
        dropped=dropped,
    )


class MalformedPage(Exception):
    """The answer is no page of records; the message names the row and what is wrong with it."""


T = TypeVar("T")


def rows_of(decode: Callable[[bytes], T], body: bytes) -> T:
    """The rows of an answer. Raises MalformedPage naming the row and what is wrong with it."""
    try:
        return decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedPage(str(error)) from error


class IdAtTime(ABC):
    """The request that finds the id of a record by time, for an endpoint that is asked by id alone.

    path: of the endpoint that it asks. weight: of the request.
    """

    path: ClassVar[str]
    weight: ClassVar[int]

    @abstractmethod
    def parameters(self, series: Series, question: ByTime) -> dict[str, str]:
        """The query of a request for the first record of the span, or the last one if the newest is asked for."""

    @abstractmethod
    def read(self, body: bytes, question: ByTime) -> tuple[int, int] | None:
        """The id, and when that record happened; None: the span has no record. Raises MalformedPage."""


class Paging(ABC):
    """The requests for records of one kind.

    path: of the endpoint. most: records in one answer at most. id_at_time: for an endpoint that cannot be asked by
    time; questions by time are then about one record.
    """

    path: ClassVar[str]
    most: ClassVar[int] = 1000
    id_at_time: ClassVar[IdAtTime | None] = None

    @abstractmethod
    def weight(self, parameters: Mapping[str, str]) -> int:
        """The request weight that a request with these parameters costs."""

    @abstractmethod
    def parameters(self, series: Series, question: Question, limit: int) -> dict[str, str]:
        """The query of a request. Raises ValueError for a question that the endpoint cannot be asked."""

    @abstractmethod
    def read(self, body: bytes, asked: SentRequest) -> Page:
        """The records of an answer: those of the question that will not change any more. Raises MalformedPage."""

    def widened(self, series: Series, question: Question, limit: int, *, local_ms: int) -> tuple[Question, int]:
        """The question and the limit to send, where more must be asked for to know which records are final.

        local_ms: now, by the local clock.
        """
        return question, limit


def time_window(question: ByTime) -> dict[str, str]:
    """The query of Binance's endpoints for a span of time. With a start they answer with the oldest records."""
    window = {"endTime": str(question.span.end_ms - 1)}
    return window if question.newest else {"startTime": str(question.span.start_ms), **window}


def described(series: Series, question: Question) -> str:
    """What is asked for, for messages: `BTCUSDT 1m 2024-08-01:2024-08-02`."""
    return " ".join(part for part in (series.symbol, series.interval, str(question)) if part)
