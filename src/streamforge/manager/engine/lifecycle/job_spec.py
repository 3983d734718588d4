"""From a step's attempt to the job that runs it, and to the command that records it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamforge.manager.engine.document import Attempt, Step, StepStatus, Workflow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.policy import Policy
from streamforge_utils.model import names
from streamforge_utils.model.messages import Command
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.runtime.life.worker_definition import Role, Source
from streamforge_utils.runtime.output.topic_specs import data_topic, dead_letters_topic


def job_of(
    workflow: Workflow,
    step: Step,
    attempt: Attempt,
    *,
    weight_per_minute: int,
    policy: Policy,
    common: Mapping[str, str],
) -> JobSpec:
    """The job of an attempt. common: settings that every worker gets (where bus, store and exchange are).

    A loader of a stream may try one connection, until it is dealt more.
    """
    form = form_of(workflow)
    environment = {
        **common,
        "QUEUE_ID": workflow.queue_id,
        "SYMBOL": workflow.symbol,
        "TYPE": step.type,
        "TIME_RANGE": str(form.span(workflow)),
        "INTERVAL": "",
        "KAFKA_TOPIC": workflow.topic,
        "COLLECTION_NAME": workflow.collection,
        **({"STREAMFORGE_DAILY_COLLECTIONS": "true"} if workflow.daily else {}),
        "TELEMETRY_PRODUCER_ID": step.telemetry_id,
        "STREAMFORGE_ATTEMPT": str(attempt.number),
        "STREAMFORGE_LAUNCHED_AT": repr(attempt.planned_ms / 1000),
        "STREAMFORGE_HEARTBEAT_SECONDS": f"{policy.heartbeat_s:g}",
        "STREAMFORGE_ORPHAN_SECONDS": f"{policy.orphan_after_s:g}",
    }
    if step.role is Role.LOADER:
        environment["STREAMFORGE_WEIGHT_PER_MINUTE"] = str(weight_per_minute)
        if step.source is Source.STREAM:
            environment["STREAMFORGE_CONNECTS"] = "1"
            if attempt.shadow:
                environment["STREAMFORGE_SHADOW"] = "true"
        environment["STREAMFORGE_DOWNSTREAM"] = ",".join(readers_of(workflow))
    elif attempt.replay:
        environment["KAFKA_TOPIC"] = names.dlq_topic(workflow.topic)
        environment["STREAMFORGE_REPLAY"] = "true"
        if step.letters:
            environment["STREAMFORGE_REPLAY_LETTERS"] = ",".join(step.letters)
        if workflow.letters_read:
            environment["STREAMFORGE_REPLAY_PASSED"] = ",".join(map(str, workflow.letters_read))
    elif step.role is Role.SINK and any(other.role is Role.LOADER for other in workflow.steps):
        environment["STREAMFORGE_DRAIN_SECONDS"] = f"{policy.drain_within_s:g}"
        environment["STREAMFORGE_UPSTREAM"] = ",".join(
            f"{other.telemetry_id}:{other.round_from}" + (":ended" if _has_ended(other) else "")
            for other in workflow.steps
            if _sends(workflow, other)
        )
    environment |= form.environment(workflow, step, attempt)
    for name, value in step.parameters.items():
        environment[f"STREAMFORGE_{name.upper()}"] = _text(value)
    return JobSpec(
        name=attempt.job,
        target=step.target,
        queue_id=workflow.queue_id,
        attempt=attempt.number,
        environment=environment,
        image=step.image,
        endless=workflow.endless,
        archive=step.source is Source.ARCHIVE,
        stream=step.source is Source.STREAM,
        analyst=step.role is Role.ANALYST,
    )


def start_command(workflow: Workflow, step: Step, attempt: Attempt) -> Command:
    """The `start` command of an attempt: for the record, its worker is started by its environment."""
    return Command(
        command="start",
        queue_id=workflow.queue_id,
        target=step.target,
        telemetry_id=step.telemetry_id,
        symbol=workflow.symbol,
        type=step.type,
        time_range=str(form_of(workflow).span(workflow)),
        kafka_topic=form_of(workflow).topic(workflow),
        collection_name=workflow.collection,
        image=step.image,
        attempt=attempt.number,
    )


def _sends(workflow: Workflow, step: Step) -> bool:
    """Whether it is a loader with a part in the current round: its end-of-stream marker is waited for."""
    began = any(attempt.number >= step.round_from for attempt in step.attempts)
    return step.role is Role.LOADER and (workflow.endless or began or bool(step.ranges))


def _has_ended(step: Step) -> bool:
    """Whether all that it sends in the current round is on the topic, its marker included."""
    last = step.attempt
    said = None if last is None or last.number < step.round_from else last.terminal_event
    return step.status is StepStatus.FINISHED or said == "finished"


def readers_of(workflow: Workflow) -> tuple[str, ...]:
    """The consumer groups of the workflow's sinks."""
    return tuple(
        names.consumer_group(workflow.queue_id, step.target) for step in workflow.steps if step.role is Role.SINK
    )


def topics_of(workflow: Workflow, policy: Policy) -> tuple[TopicSpec, ...]:
    """The topics that are its own: a data topic where it has a loader, and one of dead letters where it has a sink."""
    readers = readers_of(workflow)
    if not readers:
        return ()
    letters = dead_letters_topic(names.dlq_topic(workflow.topic), readers, policy.dlq_max_bytes)
    if all(step.role is not Role.LOADER for step in workflow.steps):
        return (letters,)
    return data_topic(workflow.topic, readers, policy.data_topic_max_bytes), letters


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
