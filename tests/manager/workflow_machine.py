"""A state machine of one workflow: the manager's pure functions on simulated jobs, topic and store."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis.stateful import RuleBasedStateMachine, initialize

from streamforge.manager.engine.document import Failure, Status, Step, Workflow
from streamforge.manager.engine.lifecycle.actions import (
    Action,
    EndJob,
    Launch,
    Prepare,
    Prove,
    SendStop,
    WriteTerminalEvent,
)
from streamforge.manager.engine.lifecycle.conditions import Conditions
from streamforge.manager.engine.lifecycle.decision import decide
from streamforge.manager.engine.lifecycle.facts import apply
from streamforge.manager.engine.lifecycle.findings import Fact, Finding, Planned, Proven, Refused, Unanswered
from streamforge.manager.engine.lifecycle.fold import fold_event, fold_jobs
from streamforge.manager.engine.lifecycle.job_spec import job_of
from streamforge.manager.engine.lifecycle.launches import live
from streamforge.manager.engine.stored_document import decode_workflow, encode_workflow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.series.model import Plan, SeriesProof, plan_of
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.messages import TERMINAL_EVENTS, Event
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.manager.support import DAY, DAY_START, LOADER, NOW, SINK, accepted, job_named, replace, rest, said, step

HOUR_MS = 3_600_000
POLICY = Policy(max_failures=3, max_disruptions=4, max_repairs=2, max_asking_failures=4)
MOST_ATTEMPTS = 3 + 24 * 4
"""Of one round: each hour may be reached by an attempt, after disruptions that reached nothing."""

SPAN = parse_time_range(DAY)


class Begun(NamedTuple):
    """An action that has not found out anything yet. basis_changes: how many there had been when it was begun."""

    action: Action
    epoch: int
    basis_changes: int


class WorkflowMachine(RuleBasedStateMachine):
    """The manager is `decide` on a document; jobs, topic, store and exchange do as the rules like.

    topic: the hours that a loader brought to the topic. stored: what a sink took from it.
    """

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.document = encode_workflow(accepted())
        self.jobs: dict[str, Job] = {}
        self.specs: dict[str, JobSpec] = {}
        self.undelivered: list[Event] = []
        self.delivered: list[Event] = []
        self.ends_sent: Counter[tuple[str, int]] = Counter()
        self.terminal_events: dict[tuple[str, int], str] = {}
        self.started: set[tuple[str, int]] = set()
        self.topic: set[int] = set()
        self.stored: set[int] = set()
        self.refused: set[int] = set()
        self.missing: set[int] = set()
        self.begun: list[Begun] = []
        self.basis_changes = 0
        self.may_start = True
        self.ends: list[Status] = []

    # What the manager does.

    @property
    def workflow(self) -> Workflow:
        return decode_workflow(self.document)

    def store(self, workflow: Workflow) -> None:
        if self.basis(workflow) != self.basis(self.workflow):
            self.basis_changes += 1
        self.document = encode_workflow(workflow)

    def basis(self, workflow: Workflow) -> object:
        """What an action relies on while it goes on."""
        return (
            plan_of(workflow) is None,
            workflow.repairs,
            workflow.stop_asked_ms is None,
            workflow.failure is None,
            workflow.ended,
        )

    def look(self, *, act: bool = True, deliver: bool = True) -> list[Action]:
        """One turn of the loop: fold, decide, store, act. act: False is a manager killed after the store."""
        workflow = self.workflow
        if workflow.ended:
            return []
        events, self.undelivered = (
            (self.undelivered, []) if deliver or self.silently_ended() else ([], self.undelivered)
        )
        for event in events:
            workflow = fold_event(workflow, event, self.now)
        self.delivered += events
        workflow = fold_jobs(workflow, self.jobs, self.now)
        conditions = Conditions(listening_since_ms=self.now - 60_000, may_start=self.may_start)
        workflow, actions = decide(workflow, self.now, POLICY, conditions)
        self.store(workflow)
        if workflow.ended:
            self.ends.append(workflow.status)
            self.check_end(workflow)
        if act:
            for action in actions:
                self.act(action)
        return actions

    def silently_ended(self) -> bool:
        """Then the reconciler reads the topic to its end before it looks."""
        for of in self.workflow.steps:
            attempt = of.attempt
            if attempt is not None and attempt.outcome is None and attempt.terminal_event is None:
                job = self.jobs.get(attempt.job)
                if attempt.ended_ms is not None or (attempt.observed if job is None else job.state is JobState.ENDED):
                    return True
        return False

    def act(self, action: Action) -> None:
        workflow = self.workflow
        match action:
            case Prepare() | Prove():
                one = Begun(action, workflow.epoch, self.basis_changes)
                if one not in self.begun:
                    self.begun.append(one)
            case Launch(target):
                assert workflow.status is not Status.PENDING
                self.launch(step(workflow, target))
            case EndJob(job):
                self.end(job, signal=9)
            case WriteTerminalEvent(event):
                self.append(event)
            case SendStop():
                pass

    def launch(self, of: Step) -> None:
        attempt = live(of)
        assert attempt is not None
        spec = job_of(self.workflow, of, attempt, weight_per_minute=1, policy=POLICY, common={})
        if attempt.job in self.jobs:
            assert self.specs[attempt.job] == spec, "a name always means the same"
            return
        running = [j for j in self.jobs.values() if j.target == of.target and j.state is JobState.RUNNING]
        assert running == [], "one attempt at a time"
        self.specs[attempt.job] = spec
        self.jobs[attempt.job] = job_named(attempt.job, target=of.target, attempt=attempt.number)

    def append(self, event: Event) -> None:
        self.undelivered.append(event)
        if event.event in TERMINAL_EVENTS:
            self.ends_sent[event.target, event.attempt] += 1
            self.terminal_events[event.target, event.attempt] = event.event

    def check_end(self, workflow: Workflow) -> None:
        if workflow.status is Status.FINISHED:
            for hour in range(24):
                at = DAY_START + hour * HOUR_MS
                assert at in self.stored or at in self.missing, "finished with less"
        assert all(job.state is JobState.ENDED for job in self.jobs.values()), "an end with a job that runs"
        assert all(live(of) is None for of in workflow.steps)
        for target, number in self.started:
            assert self.ends_sent[target, number] == 1, "exactly one last word"
        if workflow.status is Status.ERROR:
            assert workflow.failure is not None

    # What jobs and exchange do.

    def chosen(self, target: str) -> Job | None:
        """As `current`, after a few turns of the loop, so that there is mostly one."""
        for _ in range(3):
            if self.current(target) is None and not self.workflow.ended:
                self.now += 1_000
                self.look()
        return self.current(target)

    def current(self, target: str) -> Job | None:
        """The running job of that target, if there is one."""
        return next((j for j in self.jobs.values() if j.target == target and j.state is JobState.RUNNING), None)

    def send(self, job: Job, word: str, **progress: object) -> None:
        event = said(self.workflow, job.target, word, number=job.attempt, **progress)  # type: ignore[arg-type]
        self.started.add((job.target, job.attempt))
        self.append(event)

    def end(self, name: str, *, code: int | None = None, signal: int | None = None) -> None:
        job = self.jobs.get(name)
        if job is not None and job.state is JobState.RUNNING:
            self.started.add((job.target, job.attempt))
            self.jobs[name] = replace(
                job, state=JobState.ENDED, exit_code=code, signal=signal, ended_ms=self.now, reason="gone"
            )

    def load(self, job: Job, hours: int) -> int | None:
        """The loader brings the next hours to the topic; the last one it brought."""
        text = self.specs[job.name].environment["STREAMFORGE_RANGES"]
        wanted = [
            at
            for part in text.split(",")
            if part
            for at in range(parse_time_range(part).start_ms, parse_time_range(part).end_ms, HOUR_MS)
        ]
        brought = [at for at in wanted[:hours] if at not in self.missing]
        self.topic |= set(brought)
        return brought[-1] if brought else None

    def work(self, job: Job, hours: int) -> None:
        if job.target == LOADER:
            self.send(job, "loading", records=hours, position=self.load(job, hours))
        else:
            self.stored |= set(sorted(self.topic)[:hours]) - self.refused
            self.send(job, "loading", records=hours, position=hours)

    def finish(self, job: Job, code: int | None) -> None:
        position = None
        if job.target == LOADER:
            position = self.load(job, 24)
        else:
            self.stored |= self.topic - self.refused
        self.send(job, "finished", position=position)
        self.end(job.name, code=code)

    def finds_out(self, begun: Begun, how: str = "well") -> None:
        self.begun.remove(begun)
        workflow, current = self.workflow, begun.basis_changes == self.basis_changes
        finding: Finding
        if how == "unanswered":
            finding = Unanswered(reason="no route", number=workflow.asking_failures + 1, at_ms=self.now)
        elif how == "refused":
            finding = Refused(Failure(reason="no", next_step=""))
        elif isinstance(begun.action, Prove):
            finding = Proven(proof=self.proof(workflow, ask=begun.action.ask), asked=begun.action.ask)
        else:
            finding = Planned(Plan(exchange_now_ms=NOW, parts=rest(DAY)))
        changed = apply(workflow, Fact(begun.epoch, finding), POLICY)
        assert (changed != workflow) is current, (begun, finding)
        self.store(changed)

    def proof(self, workflow: Workflow, *, ask: bool) -> SeriesProof:
        segments = [self.segment(DAY_START + hour * HOUR_MS, ask=ask) for hour in range(24)]
        return SeriesProof(
            round=workflow.repairs + 1, checked_ms=self.now, expected=24, stored=0, segments=tuple(segments)
        )

    def segment(self, at: int, *, ask: bool) -> Segment:
        if at in self.stored:
            verdict = Verdict.STORED
        elif not ask:
            verdict = Verdict.UNKNOWN
        else:
            verdict = Verdict.EXCHANGE if at in self.missing else Verdict.OURS
        return Segment(start_ms=at, end_ms=at + HOUR_MS, verdict=verdict)

    def go_on(self) -> None:
        """One turn without a fault."""
        self.now += 2_000
        for target in (LOADER, SINK):
            job = self.current(target)
            if job is None or (target == SINK and self.current(LOADER) is not None):
                continue
            if self.workflow.status is Status.STOPPING:
                self.send(job, "interrupted")
                self.end(job.name, code=0)
            else:
                self.finish(job, 0)
        self.look()
        while self.begun:
            self.finds_out(self.begun[0])
