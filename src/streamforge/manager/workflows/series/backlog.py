"""Counts what a sink has left on its topic, where it could not report it."""

from __future__ import annotations

from collections.abc import Mapping

from streamforge.manager.dead_letters.store import AHEAD_BYTES, POLL_S, QUIET_POLLS
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Step, Workflow
from streamforge.manager.engine.lifecycle.findings import Left
from streamforge.manager.engine.registry import form_of
from streamforge_utils.model import names
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.messages import EOS_KEY
from streamforge_utils.ports.bus import Consumer, Start
from streamforge_utils.ports.clock import Clock
from streamforge_utils.runtime.life.worker_definition import Role

COUNTED_AT_MOST = 500_000
"""Messages of one sink's topic that are read; a loader is paced to be fewer ahead of its sinks."""

COUNTED_WITHIN_S = 30.0
"""How long the messages of one sink's topic are read where nobody waits for it: the workflow cannot end before."""

_POLL_MESSAGES = 1000


async def backlog_of(deps: Dependencies, workflow: Workflow, within_s: float = COUNTED_WITHIN_S) -> Mapping[str, Left]:
    """By target, how many messages each sink of a workflow that was stopped has left, but for end-of-stream markers.

    A sink that has reported it in its terminal event is left out, but for one of a live workflow, whose end depends on
    it: what it reports may be markers alone. Raises RetryableError.
    """
    live = form_of(workflow).ends_in_time(workflow)
    sinks = [step for step in workflow.steps if step.role is Role.SINK and (live or not _has_reported(step))]
    if not sinks or workflow.topic not in await deps.admin.topics():
        return {}
    return {step.target: await _left(deps, workflow, step.target, within_s) for step in sinks}


def _has_reported(step: Step) -> bool:
    attempt = step.attempt
    return attempt is not None and attempt.terminal_event == "interrupted" and attempt.own_exit_code is not None


async def _left(deps: Dependencies, workflow: Workflow, target: str, within_s: float) -> Left:
    topic = workflow.topic
    lag = await deps.admin.lag(topic, names.consumer_group(workflow.queue_id, target))
    if not lag.records:
        return Left(0)
    consumer = await deps.bus.consumer(topic, start=Start.LATEST, ahead_bytes=AHEAD_BYTES)
    try:
        for number, (first, _) in lag.ranges.items():
            await consumer.seek(number, first)
        unread = {number: range(*offsets) for number, offsets in lag.ranges.items()}
        return await _count(deps.clock, consumer, unread, within_s)
    finally:
        await consumer.close()


async def _count(clock: Clock, consumer: Consumer, unread: dict[int, range], within_s: float) -> Left:
    """How many of the messages with the `unread` offsets, by partition, are no markers."""
    messages = read = quiet = 0
    give_up = clock.monotonic() + within_s
    while wanted := sum(map(len, unread.values())):
        if quiet == QUIET_POLLS or read >= COUNTED_AT_MOST or clock.monotonic() >= give_up:
            return Left(messages, at_least=True)
        try:
            batch = await consumer.poll(min(wanted, _POLL_MESSAGES), POLL_S)
        except RetryableError:
            batch = ()
        for message in batch:
            offsets = unread.get(message.partition, range(0))
            messages += message.offset in offsets and message.key != EOS_KEY
            unread[message.partition] = range(max(offsets.start, message.offset + 1), offsets.stop)
        came = wanted - sum(map(len, unread.values()))
        read += came
        quiet = 0 if came else quiet + 1
    return Left(messages)
