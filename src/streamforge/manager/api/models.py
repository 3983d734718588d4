"""The JSON that the API accepts and answers. Times are ISO 8601 in UTC; `…_ms` are the same as unix milliseconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2024-08-01T00:00:00Z"])]
WorkflowStatus = Literal["pending", "running", "stopping", "finished", "interrupted", "error"]
StepState = Literal["waiting", "running", "finished", "interrupted", "error"]
VerdictName = Literal["stored", "exchange", "closed", "pending", "lost", "expired", "ours", "unknown"]
QUEUE_ID = "wf-btcusdt-api_candles_1m-20240801-abc123"


class View(BaseModel):
    """Something that the API answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(View):
    """Why something failed, and what a person can do next."""

    reason: str
    next_step: str


class TimeRange(View):
    """A half-open time range. requested: as it was written; the rest: what is loaded and proven of it.

    It ends at its start where no candle of it was over when the workflow was planned.
    """

    requested: str = Field(examples=["2024-08-01"])
    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    clipped: bool = Field(
        description=(
            "Whether the end was brought back: to the exchange's now, and once the workflow is planned to the end of "
            "the last candle that was over then."
        )
    )


class AttemptProgress(View):
    """How far an attempt is."""

    records: int = Field(description="Confirmed by this attempt.")
    rate: float = Field(description="Records a second of late.")
    share: float | None = Field(description="Done, 0 to 1, where an end is known.")
    lag: int | None = Field(description="Records that wait to be stored.")
    position: int | None = Field(description="Newest open time (ms) of a loader, newest offset of a sink.")
    unchanged: int
    stale: int
    refused: int
    waiting: str | None = Field(description="What the worker waits for.")
    waiting_until: Moment | None


class Attempt(View):
    """One attempt of a step: one process."""

    number: int
    job: str
    status: Literal["planned", "running", "stopping", "finished", "interrupted", "error"]
    started_at: Moment | None
    ended_at: Moment | None
    seen_at: Moment | None = Field(description="When it was last heard of.")
    progress: AttemptProgress
    message: str
    last_word: str | None
    exit_code: int | None
    signal: int | None
    error: str | None = Field(description="What the worker said went wrong.")
    reason: str | None = Field(description="Why its process ended other than with 0, as observed.")
    stop_reason: str | None = Field(description="Why the manager asked it to end.")
    ranges: list[str] = Field(description="What a loader loads in this attempt; empty: all.")


class Step(View):
    """One worker of a workflow."""

    target: str
    role: Literal["loader", "sink"]
    telemetry_id: str
    status: StepState
    image: str | None = Field(description="As it was asked for; a launcher that runs processes does not use it.")
    parameters: dict[str, Any]
    records: int = Field(
        description="Confirmed by all attempts together; what a sink read again counts once, as far as that is known."
    )
    messages_left: int | None = Field(
        description=(
            "Of a sink that could not say so itself: messages that it has left unstored on its topic when the workflow "
            "was stopped or failed; end-of-stream markers are not counted."
        )
    )
    messages_left_at_least: bool = Field(
        description=(
            "There may be more than `messages_left`: the bus did not give all of them in time, or there are very many."
        )
    )
    progress: AttemptProgress | None = Field(description="That of the latest attempt.")
    failure: Failure | None
    attempts: list[Attempt]


class Progress(View):
    """How far a workflow is."""

    records_expected: int | None = Field(
        description="Records of the whole range that can be had. None until the exchange was asked."
    )
    records_stored: int = Field(
        description="Of those, also what others stored; what was read again counts once. An estimate until the proof."
    )
    records_there: int = Field(description="Of records_stored, those that were stored before and are not loaded again.")
    share: float | None = Field(description="0 to 1.")
    records_refused: int = Field(
        description="Records that could not be stored; they are kept as dead letters until they are replayed."
    )
    rate: float = Field(description="Records stored a second of late.")
    eta_seconds: float | None


class VerdictSum(View):
    """The segments of one verdict, added up."""

    verdict: VerdictName
    segments: int
    seconds: float
    records: int


class CoverageSummary(View):
    """What of the workflow's range is stored: while it goes on, what the latest proof found; after its end, what the
    coverage says now."""

    complete: bool = Field(description="Whether every hole has its reason: none is `ours` or `unknown`.")
    checked_at: Moment = Field(
        description="When the latest proof counted; what was found to be gone since is left out."
    )
    round: int
    records_expected: int = Field(description="As the latest proof found.")
    records_stored: int
    verdicts: list[VerdictSum]


class Links(View):
    """Where to go on, as paths of this server."""

    self: str
    events: str
    coverage: str
    records: str
    dead_letters: str


class WorkflowSummary(View):
    """A workflow without its steps."""

    queue_id: str = Field(examples=[QUEUE_ID])
    status: WorkflowStatus
    symbol: str = Field(examples=["BTCUSDT"])
    type: str = Field(examples=["api_candles_1m"])
    time_range: TimeRange
    created_at: Moment
    ended_at: Moment | None
    waiting_for: str | None = Field(
        description="What keeps the workflow from going on at the moment; a step's own reason follows its target."
    )
    undriven: str | None = Field(
        description=(
            "Why no manager drives it at the moment: then nothing of it goes on, also where its status is `running`. "
            "None: one does, or it has ended."
        )
    )
    progress: Progress
    proven_at: Moment | None = Field(
        description=(
            "When the latest proof counted all of the range. What was stored then may be gone since: `progress` and "
            "`coverage` of a workflow that has ended say what is there now."
        )
    )
    failure: Failure | None
    topic: str
    collection: str
    links: Links


class Workflow(WorkflowSummary):
    """A workflow: an accepted request and all that became of it."""

    again: bool = Field(description="Whether it loads also what coverage had already.")
    repairs: int = Field(description="How often holes were loaded again.")
    coverage: CoverageSummary | None = Field(description="None until the first proof.")
    steps: list[Step]


class Started(Workflow):
    """The workflow that a request has started, or one that was under way with just that."""

    joined: bool = Field(
        description="Whether another request had started it: it loads the same range of the same series."
    )
    behind_seconds: float = Field(
        description=(
            "How much earlier the range of a joined workflow ends than the one asked for, where that ends at now."
        )
    )
    asked_range: str | None = Field(
        description=(
            "The range asked for, as a `time_range`, up to the last candle that was over, where a joined workflow ends "
            "earlier or, while it has no plan, may do so: if it does, a request for this loads the rest once it has "
            "ended."
        )
    )


class WorkflowPage(View):
    """Workflows, newest first."""

    queues: list[WorkflowSummary]
    cursor: str | None = Field(description="Send it as `cursor` to get the next page; none at the end.")


class StoredEvent(View):
    """An event of a workflow's history."""

    id: int
    event: dict[str, Any] = Field(description="What the worker said: GET /schemas/event.")


class EventPage(View):
    """The history of a workflow, oldest first."""

    queue_id: str
    events: list[StoredEvent]
    after: int = Field(description="Send it as `after` to get what came later.")
    more: bool = Field(description="Whether there is more already.")


class Ping(View):
    """How long each step's worker took to answer."""

    queue_id: str
    answers: dict[str, float | None] = Field(
        description="Seconds by telemetry id; none: it did not answer.", examples=[{"arango-candles__abc123": 0.012}]
    )


class Source(View):
    """The exchange that the manager loads from."""

    exchange: str = Field(description="`binance`, `test` (any on the manager's own machine), or a host.")
    urls: list[str] = Field(description="Scheme, host and port of each.", examples=[["https://api.binance.com"]])
    built_in: bool = Field(description="Whether it is a test exchange that runs as long as the manager.")


class Target(View):
    """A kind of worker."""

    target: str = Field(examples=["loader-api-candles"])
    role: Literal["loader", "sink", "diagnostic"]
    summary: str
    types: list[str] = Field(description="The types it works on, or what they begin with.")
    parameters: dict[str, Any] = Field(description="JSON Schema 2020-12 of its parameters.")


class Targets(View):
    """The catalogue of targets."""

    targets: list[Target]


class SchemaEntry(View):
    """The schema of one message."""

    name: str = Field(examples=["candle"])
    title: str
    description: str
    link: str


class Schemas(View):
    """The messages that travel on the topics."""

    schemas: list[SchemaEntry]


class Link(View):
    """A path that a GET request has an answer for."""

    path: str = Field(examples=["/queues"])
    summary: str


class Index(View):
    """Where to go on from here."""

    service: Literal["queue-manager"] = "queue-manager"
    version: str
    links: list[Link]


class Health(View):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(View):
    """Whether each part works."""

    ready: bool
    degraded: bool = Field(
        default=False,
        description="It is ready, but what runs the workers does not answer: nothing new is started meanwhile.",
    )
    parts: dict[str, str | None] = Field(
        description="None: it works; else what is wrong with it, of which only who may read is told more.",
        examples=[{"bus": None, "store": None}],
    )
