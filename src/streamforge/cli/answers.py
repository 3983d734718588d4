"""What the command line reads of the API's answers. Unknown fields are ignored: the server may be newer."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge_utils.model.timeranges import TimeRange

ENDED = frozenset({"finished", "interrupted", "error"})


class FieldError(msgspec.Struct, frozen=True):
    """One input of a problem document."""

    field: str = ""
    message: str = ""


class Problem(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457)."""

    type: str = ""
    title: str = ""
    detail: str = ""
    next_step: str = ""
    errors: list[FieldError] = []
    did_you_mean: list[str] = []


class Failure(msgspec.Struct, frozen=True):
    """Why something failed and what to do."""

    reason: str
    next_step: str = ""


class Range(msgspec.Struct, frozen=True):
    """A half-open range; requested: as it was written."""

    requested: str
    start: str
    end: str
    start_ms: int
    end_ms: int
    clipped: bool = False

    @property
    def span(self) -> TimeRange | None:
        """None: no candle of it was over when the workflow was planned."""
        return None if self.end_ms <= self.start_ms else TimeRange(self.start_ms, self.end_ms)


class Progress(msgspec.Struct, frozen=True):
    """How far a workflow is. records_there: of what is stored, what was there before it was planned."""

    records_expected: int | None = None
    records_stored: int = 0
    records_there: int = 0
    records_refused: int = 0
    share: float | None = None
    rate: float = 0.0
    eta_seconds: float | None = None


class AttemptProgress(msgspec.Struct, frozen=True):
    """How far an attempt is."""

    records: int = 0
    waiting: str | None = None
    waiting_until: str | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One process of a step."""

    number: int
    status: str
    started_at: str | None = None
    ended_at: str | None = None
    error: str | None = None
    reason: str | None = None
    stop_reason: str | None = None
    last_word: str | None = None
    message: str = ""
    progress: AttemptProgress | None = None


class Step(msgspec.Struct, frozen=True):
    """One worker of a workflow."""

    target: str
    role: str
    telemetry_id: str
    status: str
    records: int = 0
    messages_left: int | None = None
    messages_left_at_least: bool = False
    progress: AttemptProgress | None = None
    attempts: list[Attempt] = []


class Workflow(msgspec.Struct, frozen=True):
    """A workflow; in a list it comes without its steps."""

    queue_id: str
    status: str
    symbol: str
    type: str
    time_range: Range
    created_at: str
    progress: Progress
    collection: str
    ended_at: str | None = None
    proven_at: str | None = None
    waiting_for: str | None = None
    undriven: str | None = None
    joined: bool = False
    behind_seconds: float = 0.0
    asked_range: str | None = None
    failure: Failure | None = None
    repairs: int = 0
    steps: list[Step] = []

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def now(self, later: Workflow) -> Workflow:
        """`later`, which is this workflow as it is now, with what was said only when it was asked for."""
        return msgspec.structs.replace(
            later, joined=self.joined, behind_seconds=self.behind_seconds, asked_range=self.asked_range
        )

    @property
    def waits_for(self) -> str | None:
        """What keeps it from going on."""
        return None if self.ended else self.waiting_for

    @property
    def waits_until(self) -> str | None:
        """When the step goes on for which it waits, where that is known."""
        for step in self.steps:
            found = step.progress
            if found is not None and self.waits_for == f"{step.target}: {found.waiting}":
                return found.waiting_until
        return None


class Page(msgspec.Struct, frozen=True):
    """Workflows, newest first."""

    queues: list[Workflow]
    cursor: str | None = None


class Segment(msgspec.Struct, frozen=True):
    """A half-open time range with one verdict."""

    start: str
    end: str
    start_ms: int
    end_ms: int
    verdict: str
    collection: str | None = None
    records: int = 0


class Gap(msgspec.Struct, frozen=True):
    """Records that were proven to be stored and are gone."""

    start_ms: int
    end_ms: int
    collection: str
    records: int


class Span(msgspec.Struct, frozen=True):
    """What a coverage speaks of. basis: `workflow`, `range`, `asked` or `life`."""

    basis: str
    start: str
    end: str
    start_ms: int
    end_ms: int


class Removed(msgspec.Struct, frozen=True):
    """What the removal of a workflow removed and left."""

    records_removed: int
    records_staying: int
    staying: list[Segment]


class Loading(msgspec.Struct, frozen=True):
    """A workflow that has not ended and loads a part of the span."""

    queue_id: str
    status: str
    start_ms: int
    end_ms: int
    records_stored: int
    records_expected: int | None = None
    undriven: str | None = None


class Coverage(msgspec.Struct, frozen=True):
    """What is stored of a series, and why the rest is not. span: None of an older server."""

    symbol: str
    type: str
    complete: bool
    segments: list[Segment]
    queue_id: str | None = None
    span: Span | None = None
    loading: list[Loading] = []


class Series(msgspec.Struct, frozen=True):
    """A series in a list. start_ms, end_ms: of what is stored, from its first to its last; None where nothing is."""

    symbol: str
    type: str
    start_ms: int | None
    end_ms: int | None
    records: int | None
    complete: bool
    holes: int


class Symbol(msgspec.Struct, frozen=True):
    """What the exchange says of a symbol."""

    symbol: str
    status: str
    base_asset: str = ""
    quote_asset: str = ""


class Symbols(msgspec.Struct, frozen=True):
    """Symbols of the exchange, sorted; total: how many fit."""

    symbols: list[Symbol]
    total: int


class Verification(msgspec.Struct, frozen=True):
    """What was found when a series was counted in the store."""

    records_counted: int
    records_missing: int
    gaps: list[Gap]
    coverage: Coverage


class Ping(msgspec.Struct, frozen=True):
    """Seconds to each worker and back."""

    queue_id: str
    answers: dict[str, float | None]


class StoredEvent(msgspec.Struct, frozen=True):
    """An event of the history."""

    id: int
    event: dict[str, Any]


class EventPage(msgspec.Struct, frozen=True):
    """A page of the history, oldest first."""

    events: list[StoredEvent]
    after: int
    more: bool


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be stored."""

    offset: int
    attempt: int
    reason: str
    time: str
    value: str
    key: str | None = None


class DeadLetters(msgspec.Struct, frozen=True):
    """What of a workflow could not be stored. outstanding: how many there are; None: a manager that does not say."""

    dead_letters: list[DeadLetter]
    outstanding: int | None = None


class Collection(msgspec.Struct, frozen=True):
    """A collection of records."""

    name: str


class Collections(msgspec.Struct, frozen=True):
    """All collections of records."""

    collections: list[Collection]


class Target(msgspec.Struct, frozen=True):
    """A kind of worker."""

    target: str
    role: str
    summary: str
    types: list[str]
    parameters: dict[str, Any]


class Targets(msgspec.Struct, frozen=True):
    """The catalogue."""

    targets: list[Target]


class SchemaEntry(msgspec.Struct, frozen=True):
    """The schema of one message."""

    name: str
    title: str
    description: str


class Schemas(msgspec.Struct, frozen=True):
    """All messages."""

    schemas: list[SchemaEntry]


class Readiness(msgspec.Struct, frozen=True):
    """Whether each part of a manager works."""

    ready: bool
    parts: dict[str, str | None]
