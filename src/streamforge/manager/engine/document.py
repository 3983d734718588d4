"""A workflow as the manager remembers it: one document, changed by compare-and-set. Times: unix milliseconds, UTC."""

from __future__ import annotations

import builtins
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec

from streamforge.manager.actor import RequestNote
from streamforge.manager.failure_codes import FailureCode
from streamforge_utils.model.coverage import IdsRead
from streamforge_utils.model.daily_collections import Placement
from streamforge_utils.model.messages import Progress
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.runtime.life.worker_definition import Role, Source

FORMAT = 4
"""Version of this document's form; a newer one is refused by name."""


class Status(StrEnum):
    """Where a workflow stands; the last three are ends."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    ERROR = "error"


ENDED = frozenset({Status.FINISHED, Status.INTERRUPTED, Status.ERROR})


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


class Handover(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """asked_ms: since when, unix milliseconds; reason: why, for a person. of: the number of the attempt to be replaced.

    runs: what the next one is to run, where that is the reason. failures: attempts in a row that could not take over;
    trouble: why the latest could not. not_before_ms: when the next one may be made. given_up: none is made any more.
    """

    asked_ms: int
    reason: str
    of: int
    runs: str = ""
    failures: int = 0
    trouble: str = ""
    not_before_ms: int = 0
    given_up: bool = False


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


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the latest look at all that is stored found; a form may know more of it.

    round: 1, 2, … of the workflow. expected, stored: how many there should be, and how many there are.
    """

    round: int
    checked_ms: int
    expected: int
    stored: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing lacks."""
        return self.stored == self.expected


class FormPart:
    """What a form keeps in the documents of its workflows: a frozen, tagged struct that is its own.

    The engine hands it on, and asks these two things of it.
    """

    __slots__ = ()

    @property
    def is_prepared(self) -> bool:
        """Whether what has to be known before the first step is known."""
        raise NotImplementedError

    @property
    def proof(self) -> Proof | None:
        """The latest proof; None: there is none."""
        raise NotImplementedError


F = TypeVar("F", bound=FormPart)


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted request and all that became of it.

    form: what only its form knows of it. span: the range asked for, clipped to the exchange's now; requested: the range
    as it was written. symbol, type: what it is listed by.
    epoch: rises whenever what was begun before is out of date: with a stop, a retry, a replay, a new round, a failure,
    the end. What an action finds out counts in the epoch that it was begun in, and no other. labels, asked: of people.
    endless: it goes on until it is stopped, which is its normal end; `span` then ends where it was planned to. batch:
    the batch that it was made for. repairs: rounds after the first.
    asking_failures: questions in a row that the exchange did not answer. action_failures: tries to prepare or check it
    in a row, in this epoch, that failed by themselves and found nothing out.
    surveyed: what an interrupted or failed workflow has stored was looked at. waiting_for: why nothing happens.
    replayed: how it had ended before its dead letters began to be replayed, and replayed_failure: why.
    letters_read: see `read_letters`. topic_removed, dlq_removed: what retention has removed since the end. daily: each
    day has a collection of its own, and `collection` is the base of their names.
    """

    format: int = FORMAT
    queue_id: str
    symbol: str
    type: str
    requested: str
    span: TimeRange
    form: FormPart
    endless: bool = False
    batch: str = ""
    labels: dict[str, str] = {}
    asked: tuple[RequestNote, ...] = ()
    created_ms: int
    epoch: int = 0
    status: Status = Status.PENDING
    topic: str
    collection: str
    daily: bool = False
    steps: tuple[Step, ...]
    asking_failures: int = 0
    action_failures: int = 0
    not_before_ms: int = 0
    waiting_for: str = ""
    repairs: int = 0
    surveyed: bool = False
    stop_asked_ms: int | None = None
    failure: Failure | None = None
    ended_ms: int | None = None
    replayed: Status | None = None
    replayed_failure: Failure | None = None
    letters_read: tuple[PartitionRange, ...] = ()
    topic_removed: bool = False
    dlq_removed: bool = False

    @property
    def placement(self) -> Placement:
        """Where its records lie."""
        return Placement(self.collection, self.daily)

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def part(self, kind: builtins.type[F]) -> F:
        """Its form's part, which is of this kind. Raises TypeError where it is of another one."""
        if not isinstance(self.form, kind):
            raise TypeError(f"workflow {self.queue_id} is of the form {type(self.form).__name__}, not {kind.__name__}")
        return self.form

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

    def with_form(self, **changes: Any) -> Workflow:
        """This workflow with `changes` to the fields of its form's part."""
        part: Any = self.form
        return msgspec.structs.replace(self, form=msgspec.structs.replace(part, **changes))
