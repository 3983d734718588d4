"""What is different for a workflow that stores a topic: when it has work, and how its proof ends it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from streamforge.manager.engine.document import Failure, Status, Workflow
from streamforge.manager.engine.lifecycle.rounds import next_round
from streamforge.manager.failure_codes import FailureCode
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.topics.model import TopicInput, TopicProof
from streamforge_utils.model.topic_reading import RANGES_LIMIT, PartitionRange, total, union

_replace = msgspec.structs.replace
_SHOWN = 5


def conclude_topic(workflow: Workflow, topic: TopicInput, proof: TopicProof, now_ms: int, policy: Policy) -> Workflow:
    """The workflow after its proof: finished, or reading the topic once more from where it began, or failed."""
    if not proof.missing and not topic.skipped:
        return workflow.next_epoch(status=Status.FINISHED, waiting_for="", ended_ms=now_ms)
    if not proof.missing:
        return workflow.next_epoch(failure=_skipped(topic))
    if workflow.repairs < policy.max_repairs:
        proven = (PartitionRange(one.partition, one.first, one.lacking_from) for one in proof.partitions)
        again = _replace(topic, readings=topic.readings + 1, proven=tuple(proven))
        return next_round(_replace(workflow.with_form(input=again), repairs=workflow.repairs + 1))
    lacking = [one for one in proof.partitions if one.missing or one.unread]
    places = ", ".join(f"partition {one.partition} from offset {one.lacking_from}" for one in lacking[:_SHOWN])
    failure = Failure(
        code=FailureCode.MESSAGES_MISSING,
        reason=f"{proof.missing:,} messages of topic {topic.topic} are neither stored nor dead letters after it was "
        f"read {workflow.repairs + 1} times: {places}",
        next_step="see whether something else removes documents from the collection, then retry the workflow",
    )
    return workflow.next_epoch(failure=failure)


def fold_told(topic: TopicInput, told: Mapping[str, Any]) -> TopicInput:
    """The topic with what an event tells as `skipped` and `ends`; what cannot be read is left out."""
    proven = {one.partition: one.end for one in topic.proven}
    found = []
    for one in _ranges(told.get("skipped")):
        first = max(one.first, proven.get(one.partition, 0))
        found.append(PartitionRange(one.partition, first, max(first, one.end)))
    ends = dict(topic.ends)
    for one in _ranges(told.get("ends")):
        ends[one.partition] = max(one.end, ends.get(one.partition, 0))
    return _replace(topic, skipped=union((*topic.skipped, *found)), ends=ends) if found or ends != topic.ends else topic


def _ranges(told: object) -> Iterator[PartitionRange]:
    for text in told if isinstance(told, list) else ():
        with suppress(ValueError):
            yield PartitionRange.parse_setting(str(text))


def lost(workflow: Workflow, topic: TopicInput) -> Failure | None:
    """Why one that was to go on until it is stopped has not stored all that came by then."""
    return _skipped(topic) if workflow.endless and topic.skipped else None


def _skipped(topic: TopicInput) -> Failure:
    ranges = topic.skipped
    places = ", ".join(f"partition {one.partition}, {one.first} to before {one.end}" for one in ranges[:_SHOWN])
    least = "at least " if len(ranges) == RANGES_LIMIT else ""
    return Failure(
        code=FailureCode.MESSAGES_EXPIRED,
        reason=f"{least}{total(ranges):,} offsets of topic {topic.topic} were removed by its retention after the "
        f"workflow had begun and before they were read and committed: {places}",
        next_step="raise the topic's retention (retention.ms, retention.bytes), have its producer send the messages "
        "again, and store the topic by a new workflow; a retry does not bring them back, all others are stored",
    )
