"""A workflow as the manager remembers it: one document, changed by compare-and-set. Times: unix milliseconds, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from streamforge.manager.actor import RequestNote
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.handover_state import Handover
from streamforge.manager.workflows.analyses.graph_input import GraphInput
from streamforge.manager.workflows.analyses.model_input import ModelInput, ScoreInput
from streamforge.manager.workflows.live.model import Ledger
from streamforge.manager.workflows.topics.model import PartitionProof, TopicInput
from streamforge_utils.model.coverage import IdsRead, Segment
from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.messages import Progress
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.runtime.worker_definition import Role, Source

FORMAT = 3
"""Version of this document's form; a newer one is refused by name."""
END_OF_TIME_MS = 253_402_300_800_000  # the end of the year 9999


class Status(StrEnum):
    """Where a workflow stands; the last three are ends."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    ERROR = "error"


ENDED = frozenset({Status.FINISHED, Status.INTERRUPTED, Status.ERROR})


class SourceChoice(StrEnum):
    """Where a request wants its records from.

    auto: each part from the source that suits it best, and from another one where that fails. archive: from the
    exchange's files alone. rest: from its REST interface alone.
    """

    AUTO = "auto"
    ARCHIVE = "archive"
    REST = "rest"


class StepStatus(StrEnum):
    """Where a step stands; the last three are ends."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    ERROR = "error"


STEP_ENDED = frozenset({StepStatus.FINISHED, StepStatus.INTERRUPTED, StepStatus.ERROR})


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why something failed and what a person can do next. code: a `FailureCode`; an older version stored none."""

    reason: str
    next_step: str
    code: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["", *map(str, FailureCode)]})] = ""


class Remark(msgspec.Struct, frozen=True):
    """What a loader has reported of a range. reason: for a person."""

    span: TimeRange
    reason: str


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of a step.

    ranges: what a loader loads in it, as texts. replay: of a sink, it reads the dead letters; letters: how many; 0:
    all. seen_ms: last event of it (or the first sight of its job), by the manager's clock. progressed_ms: last time
    its progress changed. observed: its job was seen. stop_asked_ms: when the manager first asked it to end;
    stop_reason: why. terminal_event: `finished`, `interrupted` or `error`; own_exit_code: the exit code that it told
    with it. permanent: its error will not go away by trying again. launch_failures: tries to launch it that failed by
    themselves. exit_code, signal: of its job. ended_ms: its job is gone. outcome: how the manager counts it, once
    settled. message: of its latest event; before its first one, why its job has not begun. next_step: what a person
    can do about that or about the reason, where the launcher knows. unloaded, disputed, read: as `Step` and `Workflow`
    have them, until the attempt is settled. runs: `image NAME` of its job, or `version` of its worker. shadow: it was
    launched beside another one, and was not heard to write yet.
    """

    number: int
    job: str
    planned_ms: int
    ranges: tuple[str, ...] = ()
    replay: bool = False
    letters: int = 0
    launch_failures: int = 0
    observed: bool = False
    started_ms: int | None = None
    seen_ms: int | None = None
    progressed_ms: int | None = None
    progress: Progress = Progress()
    message: str = ""
    stop_asked_ms: int | None = None
    stop_reason: str = ""
    terminal_event: str | None = msgspec.field(name="last_word", default=None)
    own_exit_code: int | None = None
    error: str = ""
    permanent: bool = False
    exit_code: int | None = None
    signal: int | None = None
    ended_ms: int | None = None
    reason: str = ""
    next_step: str = ""
    outcome: str | None = None
    unloaded: tuple[Remark, ...] = ()
    disputed: tuple[Remark, ...] = ()
    read: tuple[IdsRead, ...] = ()
    runs: str = ""
    shadow: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of a workflow. not_before_ms: when its next attempt may be made. letters: that a replay is for.

    failures: attempts in a row, in this round, that failed by themselves without getting further than those before
    them (the first of them may have). disruptions: attempts in a row that were ended from outside without having got
    anywhere. A round is the first run, a repair or a retry: round_from is the number of its first attempt, ranges what
    a loader has still to load in it. left: messages that a sink which could not say so itself has left unstored when
    the workflow was stopped; left_at_least: there may be more. unloaded: what a loader of files could not load in this
    round, and why. added: nobody asked for the step, a plan needs it. handover: its attempt is to be replaced; shadow:
    by this one. shadows: later ones than its attempt, which have ended. handed_over: what it was last handed over for
    to run.
    """

    target: str
    role: Role
    source: Source = Source.REST
    type: str
    telemetry_id: str
    image: str | None = None
    parameters: dict[str, Any] = {}
    status: StepStatus = StepStatus.WAITING
    attempts: tuple[Attempt, ...] = ()
    replay: bool = False
    letters: tuple[str, ...] = ()
    not_before_ms: int = 0
    failures: int = 0
    disruptions: int = 0
    round_from: int = 1
    ranges: tuple[str, ...] = ()
    failure: Failure | None = None
    left: int | None = None
    left_at_least: bool = False
    unloaded: tuple[Remark, ...] = ()
    added: bool = False
    handover: Handover | None = None
    shadow: Attempt | None = None
    shadows: tuple[Attempt, ...] = ()
    handed_over: str = ""

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt; only what it says counts."""
        return self.attempts[-1] if self.attempts else None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A range that is to be loaded. reason: why it is, for a person; codes: the same, of `PartCode`s or newer ones.
    instead: another source failed before. first_id: behind the record that is stored right before it, where it has one.
    """

    span: TimeRange
    source: Source = Source.REST
    reason: str = ""
    codes: tuple[str, ...] = ()
    instead: bool = False
    first_id: int | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange said before anything was started.

    exchange_now_ms: its clock then. until_ms: the end of the last bar of the range that was over then, or of the range
    where that ends earlier; not after the range's start: no bar that opens in it was over. None: all of it was.
    parts: what is to be loaded, sorted, disjoint; each is for the loaders of its source.
    settled: segments with a verdict that needs no loading (closed). phase_ms: a known open time, for `3d`.
    expected: bars of the grid inside `parts`. there: bars of the rest that coverage knows as stored.
    bars: of the range until `until_ms`, but for what is closed. Both are estimates where only files have the records.
    first_ms: when the first bar of the series opens; last_ms: when the last one does, if no more will come.
    floor_ms, floor_id: of the first record that the exchange gives by requests, where there are older ones.
    archived: only the exchange's archive has the symbol.
    """

    exchange_now_ms: int
    until_ms: int | None = None
    parts: tuple[Part, ...] = ()
    settled: tuple[Segment, ...] = ()
    phase_ms: int | None = None
    expected: int = 0
    there: int = 0
    bars: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    floor_ms: int | None = None
    floor_id: int | None = None
    archived: bool = False

    @property
    def load(self) -> tuple[str, ...]:
        """The ranges to be loaded, from all sources, as texts."""
        return tuple(str(part.span) for part in self.parts)

    @property
    def ranges(self) -> Mapping[Source, tuple[str, ...]]:
        """The ranges of each source, as texts."""
        sources = {part.source for part in self.parts}
        return {one: tuple(str(part.span) for part in self.parts if part.source is one) for one in sources}


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the latest comparison of the stored keys with the grid found.

    round: 1, 2, … of the workflow. expected: bars of the range, but for what is closed.
    in_archive: holes that the exchange does not fill, of which files are published that were not read. partitions: of a
    topic, instead of segments; expected then is how many messages it had, stored how many of them are.
    """

    round: int
    checked_ms: int
    expected: int
    stored: int
    segments: tuple[Segment, ...]
    in_archive: tuple[Part, ...] = ()
    partitions: tuple[PartitionProof, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every message of a topic is stored or a dead letter."""
        return not self.missing and not any(one.skipped for one in self.partitions)

    @property
    def missing(self) -> int:
        """Messages of a topic that are neither stored nor dead letters, or were not read."""
        return sum(one.missing + one.unread for one in self.partitions)


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request and all that became of it.

    span: the range asked for, clipped to the exchange's now; requested: the range as it was written. What is loaded and
    proven of it is `planned_span`.
    epoch: rises whenever what was begun before is out of date: with a stop, a retry, a replay, a new round, a failure,
    the end. What an action finds out counts in the epoch that it was begun in, and no other. labels, asked: of people.
    endless: it goes on until it is stopped, which is its normal end; `span` then ends where it was planned to. ledger:
    of one that loads a series, how far it is proven. supplements: the live workflow for which the manager has made it.
    again: load also what coverage already has. source: where the records are wanted from. verification: the manager
    made it, to load what the store had lost. batch: the batch that it was made for.
    asking_failures: questions in a row that the exchange did not answer. action_failures: tries of a plan or a proof in
    a row, in this epoch, that failed by themselves and found nothing out.
    surveyed: what an interrupted or failed workflow has stored is in the coverage. waiting_for: why nothing happens.
    disputed: ranges that were loaded from files of this plan whose published checksum they do not meet. read: what its
    loaders of files have told of the ids in them; a document of an older version has none. archive_searched: files were
    searched for holes that the exchange does not fill. archive_failure: why the next plan does without files. replayed:
    how it had ended before its dead letters began to be replayed, and replayed_failure: why. letters_read: see
    `read_letters`. topic_removed, dlq_removed: what retention has removed since the end. topic_input: it stores this
    topic, and has no loader, no range and no series; `topic` is never made then, and only names the topic of dead
    letters. graph, model, scores: it makes this; neither topic is made then. daily: each day has a collection of its
    own, and `collection` is the base of their names.
    """

    format: int = FORMAT
    queue_id: str
    symbol: str
    type: str
    requested: str
    span: TimeRange
    clipped: bool = False
    endless: bool = False
    again: bool = False
    source: SourceChoice = SourceChoice.AUTO
    verification: bool = False
    batch: str = ""
    labels: dict[str, str] = {}
    asked: tuple[RequestNote, ...] = ()
    created_ms: int
    epoch: int = 0
    status: Status = Status.PENDING
    topic: str
    collection: str
    steps: tuple[Step, ...]
    plan: Plan | None = None
    asking_failures: int = 0
    action_failures: int = 0
    not_before_ms: int = 0
    waiting_for: str = ""
    proof: Proof | None = None
    repairs: int = 0
    disputed: tuple[Remark, ...] = ()
    read: tuple[IdsRead, ...] = ()
    archive_searched: bool = False
    archive_failure: str = ""
    surveyed: bool = False
    stop_asked_ms: int | None = None
    failure: Failure | None = None
    ended_ms: int | None = None
    replayed: Status | None = None
    replayed_failure: Failure | None = None
    letters_read: tuple[PartitionRange, ...] = ()
    topic_removed: bool = False
    dlq_removed: bool = False
    topic_input: TopicInput | None = None
    graph: GraphInput | None = None
    model: ModelInput | None = None
    scores: ScoreInput | None = None
    ledger: Ledger | None = None
    supplements: str = ""
    daily: bool = False

    @property
    def series(self) -> Series:
        """The series that it loads. Of one that loads none: a name of which nothing is known."""
        if not self.loads_series:
            return Series(self.symbol, self.type)
        return series_of(self.symbol, self.type)

    @property
    def placement(self) -> Placement:
        """Where its records lie."""
        return Placement(self.collection, self.daily)

    @property
    def planned_span(self) -> TimeRange | None:
        """What of `span` it loads and proves: up to the end of the last bar that was over when it was planned.

        Before the plan: `span`. None: no bar that opens in it was over. Of a live one: what is proven by now.
        """
        if self.ledger is not None:
            return self.ledger.span
        if self.plan is None:
            return self.span
        until_ms = self.span.end_ms if self.plan.until_ms is None else self.plan.until_ms
        return None if until_ms <= self.span.start_ms else TimeRange(self.span.start_ms, until_ms)

    @property
    def claimed_span(self) -> TimeRange:
        """What of the series it loads and relies on while it goes on: of one without an end, all that is to come."""
        return TimeRange(self.span.start_ms, END_OF_TIME_MS) if self.endless and not self.ended else self.span

    @property
    def loads_series(self) -> bool:
        """Whether it loads a series: it does not store a topic, or have an analysis."""
        return self.topic_input is None and self.analysis is None

    @property
    def analysis(self) -> GraphInput | ModelInput | ScoreInput | None:
        """What its analyst makes."""
        return self.graph or self.model or self.scores

    @property
    def awaits_others(self) -> bool:
        """Whether it waits until others have loaded what it makes something of: it must not take their slot."""
        return self.analysis is not None and self.plan is None

    @property
    def is_live(self) -> bool:
        """Whether it loads a series as it happens."""
        return self.endless and self.loads_series

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def step(self, target: str) -> Step | None:
        """The step of `target`, if the workflow has one."""
        return next((step for step in self.steps if step.target == target), None)

    def next_epoch(self, **changes: Any) -> Workflow:
        """This workflow with `changes` to its fields, in its next epoch."""
        return msgspec.structs.replace(self, **{"epoch": self.epoch + 1, "action_failures": 0, **changes})

    def with_step(self, changed: Step) -> Workflow:
        """This workflow with `changed` in the place of the step of the same target."""
        steps = tuple(changed if step.target == changed.target else step for step in self.steps)
        return msgspec.structs.replace(self, steps=steps)
