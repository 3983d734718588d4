"""What is true of all live workflows together, kept up to date workflow by workflow.

Looks come as fast as events do, and with a thousand workflows a look that went through all of them would do little
else. A stored workflow never changes, it is replaced: only what was replaced since the last time is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamforge.manager.engine.document import Attempt, Status, Step, Workflow
from streamforge.manager.engine.lifecycle.handovers import is_wanted, with_shadow
from streamforge.manager.engine.lifecycle.launches import live
from streamforge.manager.engine.persistence.workflow_store import Stored
from streamforge.manager.engine.registry import form_of
from streamforge_utils.runtime.life.worker_definition import Role, Source

_CONNECTING = 5
"""Attempts of a step in five minutes that are looked at: the pauses between them grow."""


class Overview:
    """Of the workflows in `live`, as of the latest `refresh`.

    started: how many are past `pending`, but for those that await others or have no end;
    continuous: how many of those load a series; beginning: of how many of these the stream is about to be planned.
    hurried: those of which a job is about to be seen, since it was just launched or has sent its terminal event.
    owners: the workflow of each latest attempt's job. current: the jobs that may run. silent: latest attempts that have
    neither sent a terminal event nor been counted, by job. parting: the exit codes that attempts told in their terminal
    events whose jobs have not ended, by job.
    loaders: of the attempts that have not ended, the workflow and the step, by job. series: the workflows of a symbol
    and a type. changed: workflows that are new or were replaced since this was emptied. handing_over: those of which a
    loader is to be replaced without a gap. starting: the steps whose attempt has not been heard yet, by job.
    most_stopping: how many of the live ones have been asked to stop at once, since none was.
    """

    def __init__(self, live: Mapping[str, Stored]) -> None:
        self._live = live
        self._read: dict[str, Stored] = {}
        self.started = self.continuous = self.beginning = 0
        self.hurried: set[str] = set()
        self.owners: dict[str, str] = {}
        self.current: set[str] = set()
        self.silent: dict[str, Attempt] = {}
        self.parting: dict[str, int] = {}
        self._connecting: dict[str, int] = {}
        self.loaders: dict[str, tuple[str, Step]] = {}
        self.series: dict[tuple[str, str], dict[str, Workflow]] = {}
        self.changed: set[str] = set()
        self.handing_over: set[str] = set()
        self.starting: dict[str, Step] = {}
        self._stopping: set[str] = set()
        self.most_stopping = 0
        """How many of the live ones have been asked to stop at once, since none was."""

    def refresh(self) -> None:
        """Read what was replaced, and forget what has ended."""
        read = self._read
        for queue_id, stored in self._live.items():
            if read.get(queue_id) is not stored:
                self._replace(queue_id, stored)
                self.changed.add(queue_id)
        if len(read) > len(self._live):
            for queue_id in read.keys() - self._live.keys():
                self._forget(queue_id)
                self.changed.discard(queue_id)
        self._count_stopping()

    def known(self, queue_id: str) -> None:
        """What the workflow is now is no news: the one who changed it has just looked at it."""
        stored = self._live.get(queue_id)
        if stored is not None and self._read.get(queue_id) is not stored:
            self._replace(queue_id, stored)
        self._count_stopping()
        self.changed.discard(queue_id)

    def take_connecting(self) -> Mapping[str, int]:
        """When attempts of loaders of streams were planned, by job, as far as it was replaced since the last call."""
        taken, self._connecting = self._connecting, {}
        return taken

    def ahead_of(self, workflow: Workflow) -> str | None:
        """The workflow that claims a part of the same range and goes first; None: there is none.

        First goes what has begun, then what was asked for first.
        """
        mine = form_of(workflow).claim(workflow)
        if mine is None:
            return None
        for other in self.series.get((workflow.symbol, workflow.type), {}).values():
            span = form_of(other).claim(other)
            if span is not None and span.intersection(mine) is not None and other.queue_id != workflow.queue_id:
                older = (other.created_ms, other.queue_id) < (workflow.created_ms, workflow.queue_id)
                if older or other.status is not Status.PENDING:
                    return other.queue_id
        return None

    def is_abandoned(self, workflow: Workflow) -> bool:
        """Whether it was made for a workflow that has ended, or is about to."""
        parent = form_of(workflow).parent(workflow)
        if not parent:
            return False
        live = self._live.get(parent)
        return live is None or live.workflow.stop_asked_ms is not None or live.workflow.failure is not None

    def _count_stopping(self) -> None:
        self.most_stopping = max(self.most_stopping, len(self._stopping)) if self._stopping else 0

    def _replace(self, queue_id: str, stored: Stored) -> None:
        if queue_id in self._read:
            self._forget(queue_id)
        self._read[queue_id] = stored
        workflow = stored.workflow
        self.series.setdefault((workflow.symbol, workflow.type), {})[queue_id] = workflow
        self.started += _holds_slot(workflow)
        self.continuous += form_of(workflow).continuous
        if any(map(is_wanted, workflow.steps)):
            self.handing_over.add(queue_id)
        self.beginning += _begins(workflow)
        if form_of(workflow).continuous and workflow.stop_asked_ms is not None:
            self._stopping.add(queue_id)
        for step in _views(workflow):
            if (attempt := step.attempt) is None:
                continue
            self.owners[attempt.job] = queue_id
            if attempt.terminal_event is None and attempt.outcome is None:
                self.silent[attempt.job] = attempt
            if step.source is Source.STREAM:
                self._connecting |= {one.job: one.planned_ms for one in step.attempts[-_CONNECTING:]}
            if live(step) is None:
                continue
            self.current.add(attempt.job)
            if attempt.started_ms is None:
                self.starting[attempt.job] = step
            if attempt.terminal_event is not None:
                code = attempt.own_exit_code
                self.parting[attempt.job] = int(attempt.terminal_event == "error") if code is None else code
            if not attempt.observed or attempt.terminal_event is not None:
                self.hurried.add(queue_id)
            if step.role is Role.LOADER:
                self.loaders[attempt.job] = (queue_id, step)

    def _forget(self, queue_id: str) -> None:
        workflow = self._read.pop(queue_id).workflow
        one = (workflow.symbol, workflow.type)
        self.series[one].pop(queue_id, None)
        if not self.series[one]:
            del self.series[one]
        self.started -= _holds_slot(workflow)
        self.continuous -= form_of(workflow).continuous
        self.beginning -= _begins(workflow)
        self.hurried.discard(queue_id)
        self.handing_over.discard(queue_id)
        self._stopping.discard(queue_id)
        for step in _views(workflow):
            if step.attempt is not None:
                job = step.attempt.job
                self.owners.pop(job, None)
                self.silent.pop(job, None)
                self.parting.pop(job, None)
                self.loaders.pop(job, None)
                self.starting.pop(job, None)
                self.current.discard(job)


def _views(workflow: Workflow) -> Iterator[Step]:
    """The steps, and beside each that has a shadow the step as it would be with that as its attempt."""
    for step in workflow.steps:
        yield step
        if (other := with_shadow(step)) is not None:
            yield other


def _begins(workflow: Workflow) -> bool:
    wanted = workflow.stop_asked_ms is None and workflow.failure is None
    return wanted and form_of(workflow).continuous and not workflow.form.is_prepared


def _holds_slot(workflow: Workflow) -> bool:
    return workflow.status is not Status.PENDING and form_of(workflow).holds_slot(workflow)
