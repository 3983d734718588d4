"""What is different for a workflow that stores a topic: when it has work, and how its proof ends it. Pure."""

from __future__ import annotations

import msgspec

from streamforge.manager.lifecycle.rounds import next_round
from streamforge.manager.policy import Policy
from streamforge.manager.topic_input import PartitionProof, TopicInput
from streamforge.manager.workflow import Failure, Plan, Proof, Status, Workflow

_replace = msgspec.structs.replace
_SHOWN = 5


def has_work(workflow: Workflow, plan: Plan) -> bool:
    """Whether there is anything for the steps of a workflow, of any sort, to do."""
    if workflow.endless or workflow.repairs or any(step.replay for step in workflow.steps):
        return True
    topic = workflow.topic_input
    return bool(plan.parts) if topic is None else topic.expected != 0


def conclude_topic(workflow: Workflow, topic: TopicInput, proof: Proof, now_ms: int, policy: Policy) -> Workflow:
    """The workflow after its proof: finished, or reading the topic once more from where it began, or failed."""
    if not proof.missing:
        return workflow.next_epoch(status=Status.FINISHED, waiting_for="", ended_ms=now_ms)
    if workflow.repairs < policy.max_repairs:
        again = _replace(topic, readings=topic.readings + 1)
        return next_round(_replace(workflow, repairs=workflow.repairs + 1, topic_input=again))
    lacking = [one for one in proof.partitions if one.missing or one.unread]
    places = ", ".join(f"partition {one.partition} from offset {_lacking_from(one)}" for one in lacking[:_SHOWN])
    failure = Failure(
        reason=f"{proof.missing:,} messages of topic {topic.topic} are neither stored nor dead letters after it was "
        f"read {workflow.repairs + 1} times: {places}",
        next_step="see whether something else removes documents from the collection, then retry the workflow",
    )
    return workflow.next_epoch(failure=failure)


def _lacking_from(one: PartitionProof) -> int:
    return one.end if one.missing_from is None else one.missing_from
