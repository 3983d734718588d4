"""The JSON that the API answers: written by the manager, described in OpenAPI, read by the command line.

An answer holds every field; one has a default where the command line reads answers of an older manager, or of another
form, without it. Unknown fields are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from streamforge.manager import handover_answers, request_answers
from streamforge.manager.engine.document import ENDED, Failure, Status, StepStatus
from streamforge.manager.note_codes import Note
from streamforge.manager.workflows.live.answers import Live
from streamforge.manager.workflows.series.part_codes import PartCode
from streamforge.manager.workflows.topics import answers as topic_input_answers
from streamforge_utils.model import timeranges
from streamforge_utils.model.coverage import Verdict
from streamforge_utils.runtime.life.worker_definition import Source

QUEUE_ID = "wf-btcusdt-api_candles_1m-20240801-abc123"
CURSOR = "Send it as `cursor` to get the next page; none at the end."


def meaning(text: str, *examples: Any) -> msgspec.Meta:
    """Describes a field."""
    return msgspec.Meta(description=text, examples=list(examples) or None)


def one_of(values: Iterable[str]) -> msgspec.Meta:
    """What OpenAPI calls an enum. It is read as text: a newer manager may know more values."""
    return msgspec.Meta(extra_json_schema={"enum": [str(value) for value in values]})


def example(value: Any) -> msgspec.Meta:
    return msgspec.Meta(examples=[value])


Moment = Annotated[
    str, msgspec.Meta(extra_json_schema={"format": "date-time"}, examples=["2024-08-01T00:00:00Z"])
]  # ISO 8601 in UTC; `…_ms` beside it is the same as unix milliseconds
WorkflowStatus = Annotated[str, one_of(Status)]
VerdictName = Annotated[str, one_of(Verdict)]


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One input that is not acceptable."""

    field: Annotated[str, meaning("The input: the name of a parameter or header, or a path into the body.")] = ""
    where: Annotated[str, meaning("`body`, `query`, `path` or `header`.")] = ""
    message: Annotated[str, meaning("What is wrong with it.")] = ""
    next_step: Annotated[str, meaning("What to do about it.")] = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document."""

    type: Annotated[str, meaning("Which kind of problem: a URN that stays the same between versions.")] = ""
    code: Annotated[str, meaning("The closest word for it, which stays too; often the last part of `type`.")] = ""
    title: Annotated[str, meaning("The kind of problem in words.")] = ""
    status: Annotated[int, msgspec.Meta(ge=400, le=599), meaning("The HTTP status.")] = 500
    detail: Annotated[str, meaning("What failed, on which input.")] = ""
    instance: Annotated[str, meaning("The path of the request.")] = ""
    next_step: Annotated[str, meaning("What to do about it.")] = ""
    errors: Annotated[list[FieldError], meaning("The inputs that are to blame, where it is known.")] = []
    did_you_mean: Annotated[
        list[str], meaning("Names that are there and much like the one that is not; `detail` names them too.")
    ] = []


class TimeRange(msgspec.Struct, frozen=True, kw_only=True):
    """A half-open time range. requested: as it was written; the rest: what is loaded and proven of it.

    It ends at its start where nothing of it was over when the workflow was planned.
    """

    requested: Annotated[str, example("2024-08-01")]
    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    clipped: Annotated[
        bool,
        meaning(
            "Whether the end was brought back: to the exchange's now, and once the workflow is planned to the end of "
            "what was over of it then."
        ),
    ] = False

    @property
    def span(self) -> timeranges.TimeRange | None:
        """None: nothing of it was over when the workflow was planned."""
        return None if self.end_ms <= self.start_ms else timeranges.TimeRange(self.start_ms, self.end_ms)


class AttemptProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an attempt is."""

    records: Annotated[int, meaning("Confirmed by this attempt.")] = 0
    rate: Annotated[float, meaning("Records a second of late.")] = 0.0
    share: Annotated[float | None, meaning("Done, 0 to 1, where an end is known.")] = None
    lag: Annotated[int | None, meaning("Records that wait to be stored.")] = None
    position: Annotated[int | None, meaning("Newest open time (ms) of a loader, newest offset of a sink.")] = None
    unchanged: int = 0
    stale: int = 0
    refused: int = 0
    waiting: Annotated[str | None, meaning("What the worker waits for.")] = None
    waiting_until: Moment | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a step: one process."""

    number: int
    job: str = ""
    status: Annotated[str, one_of(("planned", "running", "stopping", "finished", "interrupted", "error"))]
    started_at: Moment | None = None
    ended_at: Moment | None = None
    seen_at: Annotated[Moment | None, meaning("When it was last heard of.")] = None
    progress: AttemptProgress = AttemptProgress()
    message: str = ""
    last_word: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: Annotated[str | None, meaning("What the worker said went wrong.")] = None
    reason: Annotated[str | None, meaning("Why its process ended other than with 0, as observed.")] = None
    stop_reason: Annotated[str | None, meaning("Why the manager asked it to end.")] = None
    ranges: Annotated[list[str], meaning("What a loader loads in this attempt; empty: all.")] = []


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of a workflow."""

    target: str
    role: Annotated[str, one_of(("loader", "sink", "analyst"))]
    telemetry_id: str
    status: Annotated[str, one_of(StepStatus)]
    image: Annotated[str | None, meaning("As it was asked for; a launcher that runs processes does not use it.")] = None
    parameters: dict[str, Any] = {}
    records: Annotated[
        int, meaning("Confirmed by all attempts together; what a sink read again counts once, as far as that is known.")
    ] = 0
    messages_left: Annotated[
        int | None,
        meaning(
            "Of a sink that could not say so itself: messages that it has left unstored on its topic when the workflow "
            "was stopped or failed; end-of-stream markers are not counted."
        ),
    ] = None
    messages_left_at_least: Annotated[
        bool,
        meaning(
            "There may be more than `messages_left`: the bus did not give all of them in time, or there are very many."
        ),
    ] = False
    progress: Annotated[AttemptProgress | None, meaning("That of the latest attempt.")] = None
    failure: Failure | None = None
    handover: Annotated[handover_answers.Handover | None, meaning("None: there is none.")] = None
    attempts: list[Attempt] = []


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a workflow is."""

    records_expected: Annotated[
        int | None, meaning("Records of the whole range that can be had. None until the exchange was asked.")
    ] = None
    records_stored: Annotated[
        int, meaning("Of those, also what others stored; what was read again counts once. An estimate until the proof.")
    ] = 0
    records_there: Annotated[
        int, meaning("Of records_stored, those that were stored before and are not loaded again.")
    ] = 0
    share: Annotated[float | None, meaning("0 to 1.")] = None
    records_refused: Annotated[
        int, meaning("Records that could not be stored; they are kept as dead letters until they are replayed.")
    ] = 0
    rate: Annotated[float, meaning("Records stored a second of late; of an order book, published ones.")] = 0.0
    eta_seconds: float | None = None


class VerdictSum(msgspec.Struct, frozen=True, kw_only=True):
    """The segments of one verdict, added up."""

    verdict: VerdictName
    segments: int
    seconds: float
    records: int


class CoverageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What of the workflow's range is stored: while it goes on, what the latest proof found; after its end, what the
    coverage says now."""

    complete: Annotated[bool, meaning("Whether nothing lacks: none is `ours`, `unknown` or `lost`; `expired` is fine.")]
    checked_at: Annotated[
        Moment, meaning("When the latest proof counted; what was found to be gone since is left out.")
    ]
    round: int
    records_expected: Annotated[int, meaning("As the latest proof found.")]
    records_stored: int
    verdicts: list[VerdictSum]


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on, as paths of this server."""

    self: str
    events: str
    coverage: str
    records: str
    dead_letters: str


class WorkflowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow without its steps."""

    queue_id: Annotated[str, example(QUEUE_ID)]
    status: WorkflowStatus
    symbol: Annotated[str, example("BTCUSDT")]
    type: Annotated[str, example("api_candles_1m")]
    time_range: TimeRange
    created_at: Moment
    ended_at: Moment | None = None
    waiting_for: Annotated[
        str | None,
        meaning("What keeps the workflow from going on at the moment; a step's own reason follows its target."),
    ] = None
    undriven: Annotated[
        str | None,
        meaning(
            "Why no manager drives it at the moment: then nothing happens, even if its status is `running`. "
            "None: one does, or it has ended."
        ),
    ] = None
    progress: Progress
    proven_at: Annotated[
        Moment | None,
        meaning(
            "When the latest proof counted all of the range. What was stored then may be gone since: `progress` and "
            "`coverage` of a workflow that has ended say what is there now."
        ),
    ] = None
    failure: Failure | None = None
    batch: Annotated[str | None, meaning("The batch that it was made for.")] = None
    labels: Annotated[dict[str, str], meaning("As it was started with.", {"team": "research"})] = {}
    supplements: Annotated[str | None, meaning("The live workflow for which it was made, to load what lacks.")] = None
    live: Annotated[Live | None, meaning("Of a live workflow, once it is planned: how it does.")] = None
    topic: str
    collection: str
    links: Links

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class PlanPart(msgspec.Struct, frozen=True, kw_only=True):
    """A range that a workflow loads."""

    start: str
    end: str
    start_ms: int
    end_ms: int
    source: Annotated[str, one_of(Source)]
    reason: Annotated[str, meaning("Why it is loaded.")] = ""
    codes: Annotated[tuple[Annotated[str, one_of(PartCode)], ...], meaning("The same for programs.")] = ()


class AnalysisSeries(msgspec.Struct, frozen=True, kw_only=True):
    """The series that a graph, a model or scores are made of."""

    symbols: Annotated[list[str], meaning("Of the series.")]
    type: Annotated[str, meaning("Of the series.", "api_candles_1h")]
    batch: Annotated[str | None, meaning("The batch that loads them; None: none is known.")] = None


class Workflow(WorkflowSummary, frozen=True, kw_only=True):
    """A workflow: an accepted request and everything that followed from it."""

    asked: Annotated[
        list[request_answers.Asked], meaning("The latest requests for it and who made them; oldest first.")
    ] = []
    again: Annotated[bool, meaning("Whether it loads also what coverage had already.")] = False
    repairs: Annotated[int, meaning("How often holes were loaded again.")] = 0
    parts: Annotated[list[PlanPart], meaning("What the plan has to load; nothing before there is a plan.")] = []
    remarks: Annotated[list[str], meaning("What of a source failed or is in doubt, and what was done, by range.")] = []
    remark_codes: list[Note] = []
    topic_input: Annotated[topic_input_answers.TopicInput | None, meaning("None: it loads a series, not a topic.")] = (
        None
    )
    graph: Annotated[str | None, meaning("The graph that it makes; None: it makes none.")] = None
    model: Annotated[str | None, meaning("The model that it trains or lets score; None: none.")] = None
    made_of: Annotated[
        AnalysisSeries | None, meaning("Of a graph, a model or scores: what it is made of. None: it makes none.")
    ] = None
    coverage: Annotated[CoverageSummary | None, meaning("None until the first proof.")] = None
    steps: list[Step] = []


class Started(Workflow, frozen=True, kw_only=True):
    """The workflow that a request has started, or one that was under way with just that."""

    joined: Annotated[
        bool, meaning("Whether another request had started it: it loads the same range of the same series.")
    ] = False
    behind_seconds: Annotated[
        float,
        meaning("How much earlier the range of a joined workflow ends than the one asked for, where that ends at now."),
    ] = 0.0
    asked_range: Annotated[
        str | None,
        meaning(
            "The range asked for, as a `time_range`, up to the end of what was over, where a joined workflow ends "
            "earlier or, while it has no plan, may do so: if it does, a request for this loads the rest once it has "
            "ended."
        ),
    ] = None


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a workflow's history."""

    id: int
    event: Annotated[dict[str, Any], meaning("What the worker said: GET /schemas/event.")]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """The history of a workflow, oldest first."""

    queue_id: str
    events: list[StoredEvent]
    after: Annotated[int, meaning("Send it as `after` to get what came later.")]
    more: Annotated[bool, meaning("Whether there is more already.")]


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """How long each step's worker took to answer."""

    queue_id: str
    answers: Annotated[
        dict[str, float | None],
        meaning("Seconds by telemetry id; none: it did not answer.", {"arango-candles__abc123": 0.012}),
    ]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The process lives."""

    status: Annotated[str, msgspec.Meta(extra_json_schema={"const": "ok"})] = "ok"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether each part works."""

    ready: bool
    degraded: Annotated[
        bool, meaning("It is ready, but what runs the workers does not answer: nothing new is started meanwhile.")
    ] = False
    parts: Annotated[
        dict[str, str | None],
        meaning(
            "None: it works; else what is wrong. Only readers see the details.",
            {"bus": None, "store": None},
        ),
    ]
