"""Random runs of a workflow: jobs are killed, events lost, repeated or late, and it is stopped, retried or replayed.

What actions find out comes in any order and after any delay; only what was begun since the latest change of what it
relies on (by a count that the test keeps itself) may change anything.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from streamforge.manager.engine.document import (
    Status,
)
from streamforge.manager.engine.lifecycle.facts import (
    Replay,
    Retry,
    Stop,
    grant,
)
from streamforge.manager.engine.lifecycle.launches import live
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.runtime.life.worker_definition import Role
from tests.manager.support import DAY_START, LOADER, SINK
from tests.manager.workflow_machine import HOUR_MS, MOST_ATTEMPTS, POLICY, SPAN, WorkflowMachine

TARGETS = st.sampled_from([LOADER, SINK])


class RandomWorkflows(WorkflowMachine):
    """The rules, and what holds at every moment."""

    @rule(who=TARGETS, hours=st.integers(0, 24))
    def works(self, who: str, hours: int) -> None:
        job = self.chosen(who)
        if job is not None:
            self.work(job, hours)

    @rule(who=TARGETS, code=st.sampled_from([0, 0, 0, 1, None]))
    def finishes(self, who: str, code: int | None) -> None:
        job = self.chosen(who)
        if job is not None and (who == LOADER or self.current(LOADER) is None):
            self.finish(job, code)

    @rule(who=TARGETS, word=st.sampled_from(["error", "interrupted"]), code=st.sampled_from([0, 1, 2]))
    def ends_in_order(self, who: str, word: str, code: int) -> None:
        job = self.chosen(who)
        if job is not None:
            self.send(job, word)
            self.end(job.name, code=code)

    @rule(who=TARGETS, signal=st.sampled_from([9, 15]), code=st.sampled_from([None, 1]))
    def is_killed(self, who: str, signal: int, code: int | None) -> None:
        job = self.chosen(who)
        if job is not None:
            self.end(job.name, code=code, signal=None if code else signal)

    @rule(who=TARGETS)
    def sends_its_terminal_event_and_hangs(self, who: str) -> None:
        job = self.chosen(who)
        if job is not None and self.ends_sent[who, job.attempt] == 0 and who == LOADER:
            self.load(job, 24)
            self.send(job, "finished")
            self.end(job.name, signal=9)

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def an_old_event_comes_again(self, data: st.DataObject) -> None:
        self.undelivered.insert(0, data.draw(st.sampled_from(self.delivered)))

    @rule(hours=st.sets(st.integers(0, 23), max_size=2), ours=st.booleans())
    def records_go_wrong(self, hours: set[int], ours: bool) -> None:
        times = {DAY_START + hour * HOUR_MS for hour in hours} - self.stored
        if ours:
            self.refused = times  # the sink cannot store them for now
        elif not self.topic and not self.stored:
            self.missing = times

    # What the manager and those who use it do.

    @rule(act=st.booleans(), deliver=st.booleans())
    def looks(self, act: bool, deliver: bool) -> None:
        self.look(act=act, deliver=deliver)

    @rule(seconds=st.sampled_from([0.05, 1, 5, 29]))
    def time_passes(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), how=st.sampled_from(["well", "well", "well", "lost", "unanswered", "refused"]))
    def something_is_found_out(self, data: st.DataObject, how: str) -> None:
        begun = data.draw(st.sampled_from(self.begun))
        if how == "lost":
            self.begun.remove(begun)  # with the manager that began it
        else:
            self.finds_out(begun, how)

    @rule()
    def is_stopped(self) -> None:
        if not self.workflow.ended:
            self.store(grant(self.workflow, Stop(), self.now))

    @precondition(lambda self: self.workflow.ended and self.workflow.status is not Status.FINISHED)
    @rule()
    def is_retried(self) -> None:
        self.store(grant(self.workflow, Retry(), self.now))

    @precondition(lambda self: self.workflow.ended and self.workflow.form.is_prepared)
    @rule()
    def is_replayed(self) -> None:
        self.store(grant(self.workflow, Replay(), self.now))

    @rule(free=st.booleans())
    def slots_come_and_go(self, free: bool) -> None:
        self.may_start = free

    # What holds at every moment.

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert self.workflow.repairs <= POLICY.max_repairs
        for of in self.workflow.steps:
            assert of.failures <= POLICY.max_failures
            assert of.disruptions < POLICY.max_disruptions
            numbers = [attempt.number for attempt in of.attempts]
            assert numbers == sorted(set(numbers))
            assert all(attempt.outcome is not None for attempt in of.attempts[:-1]), "one attempt at a time counts"
            for attempt in of.attempts:
                said = self.terminal_events.get((of.target, attempt.number))
                assert attempt.terminal_event in (None, said), "what another attempt said does not count"
                assert attempt.outcome is None or attempt.terminal_event is not None
                assert attempt.outcome != "finished" or attempt.exit_code in (0, None)
            assert len([a for a in of.attempts if a.number >= of.round_from]) <= MOST_ATTEMPTS

    @invariant()
    def what_waits_for_a_slot_runs_nothing(self) -> None:
        if self.workflow.status is Status.PENDING:
            assert all(live(of) is None for of in self.workflow.steps)

    @invariant()
    def ranges_stay_inside(self) -> None:
        for of in self.workflow.steps:
            assert all(inside(parse_time_range(text)) for text in of.ranges)
            assert of.role is Role.LOADER or not of.ranges

    @invariant()
    def a_terminal_event_is_said_once(self) -> None:
        assert all(count <= 1 for count in self.ends_sent.values())

    @rule(turns=st.integers(1, 4))
    def no_fault_happens(self, turns: int) -> None:
        for _ in range(turns):
            if not self.workflow.ended:
                self.go_on()

    def teardown(self) -> None:
        """No fault from now on: the workflow ends."""
        if not hasattr(self, "document"):
            return
        self.refused = set()
        self.may_start = True
        for _ in range(400):
            if self.workflow.ended:
                return
            self.go_on()
        raise AssertionError(f"it does not end: {self.workflow}")


def inside(span: TimeRange) -> bool:
    return SPAN.start_ms <= span.start_ms and span.end_ms <= SPAN.end_ms


TestRandomWorkflows = RandomWorkflows.TestCase
TestRandomWorkflows.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
