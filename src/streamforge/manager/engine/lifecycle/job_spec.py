"""From a step's attempt to the job that runs it, and to the command that records it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from streamforge.manager.engine.document import Attempt, Step, StepStatus, Workflow
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.topics.model import TopicInput
from streamforge_utils.model import names
from streamforge_utils.model.messages import Command
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.bus import TopicSpec
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.runtime.topic_specs import data_topic, dead_letters_topic
from streamforge_utils.runtime.worker_definition import Role, Source


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
    span = _span_of(workflow)
    environment = {
        **common,
        "QUEUE_ID": workflow.queue_id,
        "SYMBOL": workflow.symbol,
        "TYPE": step.type,
        "TIME_RANGE": str(span),
        "INTERVAL": workflow.series.interval,
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
        environment["STREAMFORGE_RANGES"] = ",".join(_ranges_of(workflow, attempt, span))
        if (first_id := _first_id(workflow, step, attempt)) is not None:
            environment["STREAMFORGE_FIRST_ID"] = str(first_id)
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
    elif step.role is Role.ANALYST:
        pass  # it reads no topic
    elif workflow.topic_input is not None:
        environment |= _of_topic(workflow, workflow.topic_input, step)
    else:
        environment["STREAMFORGE_DRAIN_SECONDS"] = f"{policy.drain_within_s:g}"
        environment["STREAMFORGE_UPSTREAM"] = ",".join(
            f"{other.telemetry_id}:{other.round_from}" + (":ended" if _has_ended(other) else "")
            for other in workflow.steps
            if _sends(workflow, other)
        )
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


def _first_id(workflow: Workflow, step: Step, attempt: Attempt) -> int | None:
    """The id behind the last record that is known to be there, if the attempt's first range goes on from it.

    That is what an attempt before brought to the topic in the same round, or what was stored when it was planned.
    """
    if step.source is not Source.REST or not attempt.ranges:
        return None
    span = parse_time_range(attempt.ranges[0])
    for before in reversed(step.attempts):
        reached = before.progress
        if step.round_from <= before.number < attempt.number and reached.position is not None:
            return None if reached.last_id is None or reached.position not in span else reached.last_id + 1
    parts = () if workflow.plan is None else workflow.plan.parts
    return next((one.first_id for one in parts if one.span.start_ms == span.start_ms), None)


def _span_of(workflow: Workflow) -> TimeRange:
    """The range that workers are told; of a live workflow, which has no end, it begins with its stream: what is on the
    topic of an earlier time is of a round before."""
    if workflow.ledger is not None:
        return TimeRange(workflow.ledger.stream_ms, workflow.ledger.resume_ms + 1000)
    return workflow.planned_span or workflow.span


def _ranges_of(workflow: Workflow, attempt: Attempt, span: TimeRange) -> Iterable[str]:
    """What a loader loads; of a live workflow from where on, if it finds nothing on the topic: all before is stored."""
    if workflow.ledger is not None:
        return (str(TimeRange(workflow.ledger.resume_ms, workflow.ledger.resume_ms + 1000)),)
    return _inside(span, attempt.ranges)


def _of_topic(workflow: Workflow, topic: TopicInput, step: Step) -> dict[str, str]:
    """What the sink of a topic that is not ours is told: nothing of ours is written there."""
    return {
        "KAFKA_TOPIC": topic.topic,
        "STREAMFORGE_UNTIL": topic.until.text,
        "STREAMFORGE_OFFSETS": ",".join(map(str, topic.ranges or ())),
        "STREAMFORGE_GROUP": reading_group(workflow, topic, step.target),
        "STREAMFORGE_DEAD_LETTERS": names.dlq_topic(workflow.topic),
    }


def reading_group(workflow: Workflow, topic: TopicInput, target: str) -> str:
    """The consumer group of a sink on the topic: another one where it begins at the beginning again."""
    group = names.consumer_group(workflow.queue_id, target)
    return f"{group}-{topic.readings + 1}" if topic.readings else group


def start_command(workflow: Workflow, step: Step, attempt: Attempt) -> Command:
    """The `start` command of an attempt: for the record, its worker is started by its environment."""
    return Command(
        command="start",
        queue_id=workflow.queue_id,
        target=step.target,
        telemetry_id=step.telemetry_id,
        symbol=workflow.symbol,
        type=step.type,
        time_range=str(_span_of(workflow)),
        kafka_topic=workflow.topic if workflow.topic_input is None else workflow.topic_input.topic,
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
    """The data topic and its topic of dead letters; of a workflow that stores another topic the latter alone, of one
    with an analysis none."""
    if workflow.analysis is not None:
        return ()
    readers = readers_of(workflow)
    letters = dead_letters_topic(names.dlq_topic(workflow.topic), readers, policy.dlq_max_bytes)
    if workflow.topic_input is not None:
        return (letters,)
    return data_topic(workflow.topic, readers, policy.data_topic_max_bytes), letters


def _inside(span: TimeRange, ranges: Iterable[str]) -> Iterator[str]:
    """The parts of `ranges` in `span`, in which all their bars open: the last one may end behind it."""
    for text in ranges:
        if (part := parse_time_range(text).intersection(span)) is not None:
            yield str(part)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
