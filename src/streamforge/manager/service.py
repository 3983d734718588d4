"""What queue-manager offers to those who ask it: the use cases behind the HTTP API, free of HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from streamforge.manager.origin import Source
from streamforge.manager.workflow import Status, Workflow
from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.exchange import SymbolInfo


class NotFound(StreamForgeError):
    """There is no workflow, series, collection or target of that name. meant: names that are there and much like it."""

    def __init__(self, message: str, *, meant: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.meant = tuple(meant)


def no_workflow(queue_id: str, near: str | None) -> NotFound:
    """The error for a `queue_id` that names no workflow. near: the name of one that is much like it."""
    meant = f"did you mean {near}?" if near else "GET /queues lists those that there are"
    return NotFound(f"there is no workflow {queue_id[:80]!r}: {meant}", meant=[near] if near else [])


class NotNow(StreamForgeError):
    """The request is well-formed but not possible in the present state (HTTP 409); the message says what is."""


class Incomplete(StreamForgeError):
    """The store holds fewer records than were proven to be there (HTTP 409); the message says where and how many.

    symbol, type: the series of which they are.
    """

    def __init__(self, message: str, symbol: str, type: str) -> None:
        super().__init__(message)
        self.symbol = symbol
        self.type = type


class KeyReused(StreamForgeError):
    """The Idempotency-Key came before with another request (HTTP 422)."""


class StepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One step asked for. parameters: checked against the target's parameter model."""

    target: str
    image: str | None = None
    parameters: dict[str, Any] = {}


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow asked for.

    steps: None takes the targets that the type needs. collection: None takes the name that follows from the request.
    again: load also what coverage says is stored.
    """

    symbol: str
    type: str
    time_range: str
    steps: tuple[StepRequest, ...] | None = None
    collection: str | None = None
    again: bool = False


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Records that were proven to be in `collection` and are not there any more. records: how many."""

    start_ms: int
    end_ms: int
    collection: str
    records: int


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What the removal of a workflow removed. records: from the store. staying: what of its range is stored still."""

    records: int = 0
    staying: tuple[Segment, ...] = ()


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when the records of a series were counted. counted: records that are there."""

    counted: int
    gaps: tuple[Gap, ...]
    segments: tuple[Segment, ...]


class Started(NamedTuple):
    """What became of a request.

    new: the workflow was made for it. joined: another request made it, and it was under way. replayed: the same key and
    request came before. behind_ms: how much earlier the range of a joined workflow ends than the one asked for. asked:
    that one, up to the last bar that was over, if it does or, as the workflow has no plan yet, may do so.
    """

    workflow: Workflow
    new: bool = False
    joined: bool = False
    replayed: bool = False
    behind_ms: int = 0
    asked: TimeRange | None = None


class HistoryEvent(msgspec.Struct, frozen=True):
    """An event of a workflow's history. id: ascending; a later one was heard later. body: the event's JSON."""

    id: int
    body: bytes


class Page(msgspec.Struct, frozen=True):
    """Workflows, newest first. cursor: gives the next page; None at the end."""

    workflows: Sequence[Workflow]
    cursor: str | None


class StoredSeries(msgspec.Struct, frozen=True):
    """A series of which something is known.

    span: from the first to the last record that is stored; None: none is. segments: sorted; they speak of all that is
    stored, or was and is gone; where there was never a record, of all that was asked for. records: how many are stored;
    None: of an interval whose grid is not known.
    """

    series: Series
    span: TimeRange | None
    segments: Sequence[Segment]
    records: int | None


class SeriesPage(msgspec.Struct, frozen=True):
    """Series in the order of their names, last first. cursor: gives the next page; None at the end."""

    series: Sequence[StoredSeries]
    cursor: str | None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be stored: where it came from, why, and its original bytes."""

    topic: str
    partition: int
    offset: int
    attempt: int
    reason: str
    time_ms: int
    key: bytes | None
    value: bytes


class DeadLetterPage(msgspec.Struct, frozen=True):
    """The oldest dead letters of a workflow. outstanding: how many there are of them."""

    letters: Sequence[DeadLetter]
    outstanding: int


Basis = Literal["workflow", "range", "asked", "life"]
"""Whose span a report speaks of: a workflow's; the one of the request; all that was asked for so far, so from the first
to the last record where nothing is missing at the ends; the whole life of the series."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a span of a series.

    segments: sorted; they speak of all bars that open in the span, from the first one on, and a stored one has its
    exact count; none where no bar opens in it. loading: live workflows of the series whose range overlaps the span,
    oldest first. Without a span nothing was asked for yet, or no bar that opens in a workflow's range was over when it
    was planned.
    """

    series: Series
    basis: Basis
    span: TimeRange | None
    segments: Sequence[Segment] = ()
    loading: Sequence[Workflow] = ()


class Service(Protocol):
    """The manager as its API sees it.

    Every call raises RetryableError where bus, store or launcher do not answer (HTTP 503 with Retry-After), and
    InvalidInput, naming the field, where the input is not acceptable (HTTP 422).
    """

    async def start(self, request: StartRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request: on return it is stored. A workflow that loads the same is joined, not made again.

        Raises InvalidInput, or KeyReused.
        """

    async def get(self, queue_id: str) -> Workflow:
        """The workflow. Raises NotFound."""

    async def find(
        self,
        *,
        statuses: Sequence[Status] = (),
        symbol: str | None = None,
        type: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Workflows, newest first. Raises InvalidInput for a cursor that is none."""

    async def remove(self, queue_id: str, *, data: bool = False) -> Removed:
        """Forget an ended workflow (with `data`, also its records and their coverage). Raises NotFound, NotNow."""

    async def events(self, queue_id: str, *, after: int = -1, limit: int = 1000) -> Sequence[HistoryEvent]:
        """The history after the event `after`, oldest first. Raises NotFound."""

    def follow(self, queue_id: str, *, after: int = -1) -> AsyncIterator[HistoryEvent]:
        """The history after `after`, then what comes, until the workflow has ended. Raises NotFound."""

    async def stop(self, queue_id: str) -> Workflow:
        """Ask the workflow to end in order; again while it is stopping is no error. Raises NotFound, NotNow (ended)."""

    async def ping(self, queue_id: str, *, timeout_s: float = 2.0) -> Mapping[str, float | None]:
        """Seconds to each step's worker and back, by telemetry id; None if it did not answer. Raises NotFound."""

    async def retry(self, queue_id: str) -> Workflow:
        """Start an interrupted or failed workflow again on what it still lacks. Raises NotFound, NotNow."""

    async def coverage(self, queue_id: str) -> Report:
        """What is known of the workflow's range. Raises NotFound."""

    async def coverages(self, workflows: Sequence[Workflow]) -> Mapping[str, Report]:
        """By queue_id, what is known now of the range of each of these that has ended and had a plan.

        What was stored then may be gone.
        """

    async def series_coverage(
        self, symbol: str, type: str, span: TimeRange | None = None, *, life: bool = False
    ) -> Report:
        """What is known of the series in `span`; without one in all that was asked for so far, or in its whole `life`.

        Raises NotFound: nothing is known of the series.
        """

    async def verify(self, symbol: str, type: str, span: TimeRange | None = None) -> Verification:
        """Count the records of the series (inside `span`) in the store, and mark what is gone as `ours`."""

    def records(
        self,
        collection: str,
        *,
        span: TimeRange | None = None,
        after: str | None = None,
        limit: int = 1000,
        series: Series | None = None,
    ) -> AsyncIterator[Sequence[tuple[str, bytes]]]:
        """Stored records (key, JSON) of a collection, oldest first, in batches, `limit` in all.

        after: continue behind this key. span: by open time. series: of this one alone.
        Raises NotFound, or Incomplete where fewer come than the coverage has proven; before the first batch, where all
        is asked for.
        """

    async def collections(self) -> Sequence[str]:
        """The collections that hold records, sorted."""

    async def series(self, *, cursor: str | None = None, limit: int = 100) -> SeriesPage:
        """The series of which something is known. Raises InvalidInput for a cursor that is none."""

    async def symbols(self) -> Sequence[SymbolInfo]:
        """What the exchange lists, sorted."""

    async def dead_letters(self, queue_id: str, *, limit: int = 100) -> DeadLetterPage:
        """What of the workflow could not be stored, oldest first, `limit` at most. Raises NotFound."""

    async def replay_dead_letters(self, queue_id: str) -> Workflow:
        """Let a sink attempt read the dead letters again. Raises NotFound, NotNow (still running, or none there)."""

    async def undriven(self) -> str | None:
        """Why no manager drives the workflows at the moment; None: one does."""

    async def source(self) -> Source:
        """The exchange that the manager loads from."""

    async def ready(self) -> Mapping[str, str | None]:
        """Bus, store, launcher and reconciler: None if it works, else what is wrong with it."""
