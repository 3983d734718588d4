"""Carrying out what was decided. Every action may come again: each is harmless when it was done already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from streamforge.manager.engine.document import Attempt, Failure, Workflow
from streamforge.manager.engine.execution.basket_gathering import Baskets, processes_of
from streamforge.manager.engine.execution.connect_dealing import ConnectDealing
from streamforge.manager.engine.execution.exchange_limits import Budget
from streamforge.manager.engine.execution.handover_limit import HandoverLimit
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.engine.execution.start_limit import StartLimit
from streamforge.manager.engine.lifecycle.actions import (
    Action,
    Compare,
    EndJob,
    Launch,
    Prepare,
    Prove,
    SendStop,
    TakeOver,
    WriteTerminalEvent,
)
from streamforge.manager.engine.lifecycle.ban import ban_told
from streamforge.manager.engine.lifecycle.findings import Failed, Finding, Refused, TopicsRemoved, Unanswered
from streamforge.manager.engine.lifecycle.handovers import with_shadow
from streamforge.manager.engine.lifecycle.job_spec import job_of, start_command, topics_of
from streamforge.manager.engine.lifecycle.retry_policy import HANDOVER
from streamforge.manager.engine.lifecycle.rounds import next_number
from streamforge.manager.engine.lifecycle.stop_times import drain_s, kill_grace_s
from streamforge.manager.engine.persistence.bans import Bans
from streamforge.manager.engine.persistence.workflow_store import OutOfDate
from streamforge.manager.engine.refusals import ExchangeFailed
from streamforge.manager.engine.registry import form_of
from streamforge.manager.engine.services import Services
from streamforge.manager.failure_codes import FailureCode
from streamforge_utils.model import names
from streamforge_utils.model.errors import ConfigError, ConflictError, PermanentError, RetryableError
from streamforge_utils.model.messages import Command, encode_command, encode_event
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.launcher import Job
from streamforge_utils.runtime.life.worker_definition import Role, Source

_replace = msgspec.structs.replace
_REMEMBERED = 1000
"""The latest jobs whose `start` command is known to have been sent, and workflows whose topics are there."""

_log = structlog.get_logger(__name__)


class Executor:
    """Does one action for one workflow at a time; the caller sees to it that an action is not done twice at once.

    jobs: as they were last seen.
    """

    def __init__(self, deps: Services, bans: Bans, budget: Budget, overview: Overview) -> None:
        self._deps = deps
        self._bans = bans
        self._budget = budget
        self._overview = overview
        self.connects = ConnectDealing(deps, overview)
        self.handovers = HandoverLimit(deps.policy, overview)
        self.starts = StartLimit(deps.policy, overview, lambda: self.jobs)
        self.jobs: Mapping[str, Job] = {}
        self.baskets = Baskets(deps.launcher, deps.clock, deps.policy.basket_size)
        self._recorded: dict[str, None] = {}
        self._provided: dict[str, None] = {}

    async def act(self, workflow: Workflow, action: Action) -> Finding | None:
        """Carry the action out; what it found out is for the loop, which folds it into the workflow.

        Raises RetryableError: the next look at the workflow will want the action again.
        """
        self._deps.fence()
        try:
            return await self._act(workflow, action)
        except OutOfDate as late:
            _log.info("what an action found out came too late", action=type(action).__name__, reason=str(late))
            return None
        except ExchangeFailed as failed:
            return self._unanswered(workflow, failed.error)

    async def _act(self, workflow: Workflow, action: Action) -> Finding | None:
        form = form_of(workflow)
        match action:
            case Prepare():
                found: Finding = await form.prepare(self._deps, workflow)
                return found
            case Launch(target, shadow):
                return await self._launch(workflow, target, shadow=shadow)
            case TakeOver(target):
                await self._tell(workflow, target, "takeover", None)
            case SendStop(target):
                # With its attempt: workers read from a little before their launch, and an attempt made by a retry
                # must not obey what was meant for the one before.
                await self._tell(workflow, target, "stop", self._how_to_stop(workflow, target))
            case EndJob(job):
                await self.end(job, kill_grace_s(workflow, self._deps.policy, self._overview.most_stopping))
            case WriteTerminalEvent(event):
                await self._deps.producer.send(
                    self._deps.events_topic, [Message(event.queue_id.encode(), encode_event(event))]
                )
            case Prove(ask) if workflow.form.is_prepared:
                stopping = self._overview.most_stopping
                checked: Finding | None = await form.check(self._deps, workflow, ask=ask, stopping=stopping)
                return checked
            case Compare(ask):
                compared: Finding | None = await form.compare(self._deps, workflow, ask=ask)
                return compared
        return None

    async def _tell(self, workflow: Workflow, target: str, command: str, payload: dict[str, Any] | None) -> None:
        step = workflow.step(target)
        number = None if step is None or step.attempt is None else step.attempt.number
        await self.send(
            Command(command=command, queue_id=workflow.queue_id, target=target, attempt=number, payload=payload)
        )

    def _how_to_stop(self, workflow: Workflow, target: str) -> dict[str, Any] | None:
        step = workflow.step(target)
        attempt = None if step is None else step.attempt
        if step is None or attempt is None:
            return None
        if step.role is Role.SINK:  # it is stopped after its loaders
            if attempt.stop_asked_ms is None or not form_of(workflow).ends_in_time(workflow):
                return {"upstream_ended": True}
            seconds = drain_s(workflow, attempt.stop_asked_ms, self._deps.policy, self._overview.most_stopping)
            return {"upstream_ended": True, "drain_seconds": round(seconds, 3)}
        return {"handover": True} if attempt.stop_reason == HANDOVER else None

    async def note_ends(self) -> None:
        """Tell the launcher which members of baskets have sent their terminal event: it may see no other end of them.

        Raises RetryableError.
        """
        self._overview.refresh()
        for name, code in self._overview.parting.items():
            if (job := self.jobs.get(name)) is not None and job.is_member:
                await self._deps.launcher.note_end(name, code)

    async def end(self, name: str, grace_s: float | None = None) -> None:
        """End a job; a member of a basket is told so by a command first, as its launcher may only end all of them."""
        job = self.jobs.get(name)
        if job is not None and job.is_member:
            # As in a handover: it leaves to others how the topic goes on.
            told = {"handover": True}
            stop = Command(command="stop", queue_id=job.queue_id, target=job.target, attempt=job.attempt, payload=told)
            with suppress(RetryableError):  # then it is ended with the others
                await self.send(stop)
        await self._deps.launcher.stop(name, grace_s=self._deps.policy.kill_grace_s if grace_s is None else grace_s)

    def runs(self, workflow: Workflow | None) -> Mapping[str, str]:
        """By target what a job of a continuous workflow would run now: `image NAME`, or `version` of processes."""
        steps = () if workflow is None or not form_of(workflow).continuous else workflow.steps
        images = {one.target: self._deps.launcher.image(one.target, one.image) for one in steps}
        version = f"version {self._deps.version}" if self._deps.version else ""
        return {target: f"image {image}" if image else version for target, image in images.items()}

    async def send(self, *commands: Command) -> None:
        """Send commands, stamped with the time."""
        now = self._deps.clock.now_ms() / 1000
        await self._deps.producer.send(
            self._deps.control_topic,
            [Message(one.queue_id.encode(), encode_command(_replace(one, timestamp=now))) for one in commands],
            fleeting=all(one.command == "ping" for one in commands),
        )

    async def deal_budget(self) -> None:
        """Send every running loader its share of the exchange's weight, where that has changed: by each launch."""
        now_ms = self._deps.clock.now_ms()
        banned = now_ms < self._bans.ban.until_ms
        loaders = self._overview.loaders
        running = [job for job, (_, step) in loaders.items() if step.attempt is not None and step.attempt.observed]
        streams = [job for job in running if loaders[job][1].source is Source.STREAM]
        processes, together = processes_of(loaders, self.jobs)
        weights = self._budget.deal(loaders, running, banned=banned, together=together)
        connects = await self.connects.deal(streams, self.jobs, processes, now_ms)
        same = 0 if banned else self._budget.share(len(loaders))
        shares = weights | {job: same * together[job] for job in connects if job not in weights}
        commands = list[Command]()
        for job, share in shares.items():
            queue_id, step = loaders[job]
            commands.append(
                Command(
                    command="budget",
                    queue_id=queue_id,
                    telemetry_id=step.telemetry_id,
                    attempt=None if step.attempt is None else step.attempt.number,
                    payload={"weight_per_minute": share} | ({"connects": connects[job]} if job in connects else {}),
                )
            )
        if commands:
            await self.send(*commands)
        for job, share in shares.items():
            self._budget.sent(job, share)
            if job in connects:
                self.connects.sent(job, connects[job], now_ms)

    def may_connect(self, workflow: Workflow | None, now_ms: int) -> bool:
        """Whether one more loader of a stream may be launched, which connects at once. now_ms: the same for a look."""
        return self.connects.may_launch(workflow, self.jobs, now_ms)

    def _unanswered(self, workflow: Workflow, error: RetryableError | PermanentError) -> Unanswered | Refused:
        if isinstance(error, PermanentError):
            next_step = "correct what the reason names, then retry the workflow or start the same again"
            return Refused(Failure(code=FailureCode.EXCHANGE_REFUSED, reason=str(error), next_step=next_step))
        ban = ban_told(error, self._deps.clock.now_ms())
        return Unanswered(
            reason=str(error),
            # A ban has an end: waiting for it is no failed try.
            number=workflow.asking_failures + (1 if ban is None else 0),
            at_ms=self._deps.clock.now_ms(),
            retry_after_ms=int((error.retry_after or 0) * 1000),
            ban=ban,
        )

    async def _launch(self, workflow: Workflow, target: str, *, shadow: bool) -> Refused | Failed | None:
        deps = self._deps
        step = workflow.step(target)
        if step is not None and shadow:
            step = with_shadow(step)
        if step is None or (attempt := step.attempt) is None:
            return None
        await self._provide_topics(workflow, attempt)
        share = self._budget.share(1)
        if step.role is Role.LOADER:
            self._overview.refresh()
            share = self._budget.share(len(self._overview.loaders))
        common = dict(deps.common)
        if (expected := deps.exchange_identity()) is not None:
            common["STREAMFORGE_EXCHANGE_IDENTITY"] = expected
        if not self._wanted(workflow, target, attempt.number):
            return None  # it was asked to stop while this waited for its turn
        spec_ = job_of(workflow, step, attempt, weight_per_minute=share, policy=deps.policy, common=common)
        if step.role is Role.LOADER:
            self._budget.sent(attempt.job, share)  # before it runs: a look meanwhile would send it once more
        try:
            await self.baskets.start(spec_)
        except ConfigError as error:
            if shadow:  # the attempt that writes goes on
                last = deps.policy.max_action_failures
                return Failed(action="Launch", number=last, reason=str(error), target=target, attempt=attempt.number)
            failure = Failure(
                code=FailureCode.NOT_STARTED,
                reason=f"{target} cannot be started: {error}",
                next_step="correct the setting that the reason names",
            )
            return Refused(failure)
        if attempt.job not in self._recorded:  # a launch comes again until its job is seen
            await self.send(start_command(workflow, step, attempt))
            _remember(self._recorded, attempt.job)
        return None

    async def _provide_topics(self, workflow: Workflow, attempt: Attempt) -> None:
        """Make the workflow's topics: once for the first attempts of its steps, again for every later one.

        They may be gone by then, and that may be why it is made.
        """
        async with self._deps.locks.hold(workflow.topic):  # its steps are launched at once
            if attempt.number == 1 and workflow.queue_id in self._provided:
                return
            for spec in topics_of(workflow, self._deps.policy):
                await self._deps.admin.create_topic(spec)
            _remember(self._provided, workflow.queue_id)

    def _wanted(self, workflow: Workflow, target: str, number: int) -> bool:
        stored = self._deps.workflows.live.get(workflow.queue_id)
        if stored is None or stored.workflow.stop_asked_ms is not None or stored.workflow.failure is not None:
            return False
        step = stored.workflow.step(target)
        attempts = () if step is None else (step.attempt, step.shadow)
        return any(one is not None and one.number == number and one.stop_asked_ms is None for one in attempts)

    async def remove_topics(self, workflow: Workflow, removal: TopicsRemoved) -> bool:
        """Remove a topic of an ended workflow, and forget its jobs. False: it was removed itself, or goes on again."""
        deps = self._deps
        deps.fence()
        # Who lets the workflow go on again waits: its next attempt must not find a topic that is about to go.
        async with deps.locks.hold(workflow.topic):
            latest = await deps.workflows.get(workflow.queue_id)
            if latest is None or latest.workflow.epoch != workflow.epoch:
                return False
            if removal.dead_letters:
                await deps.admin.delete_topic(names.dlq_topic(workflow.topic))
            else:
                await deps.admin.delete_topic(workflow.topic)
                await self.forget_jobs(workflow)
        return True

    async def forget_jobs(self, workflow: Workflow) -> None:
        """Let the launcher forget the jobs of an ended workflow."""
        for step in workflow.steps:
            for number in range(1, next_number(step)):  # also those that the document does not remember
                job = names.job_name(step.target, workflow.symbol, workflow.queue_id, number)
                try:
                    await self._deps.launcher.forget(job)
                except ConflictError:
                    _log.warning("a job of an ended workflow still runs", job=job, queue_id=workflow.queue_id)


def _remember(latest: dict[str, None], name: str) -> None:
    latest[name] = None
    if len(latest) > _REMEMBERED:
        latest.pop(next(iter(latest)))
