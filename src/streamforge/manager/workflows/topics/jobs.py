"""What the sink of a topic of another producer is told: nothing of ours is written there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from streamforge.manager.engine.document import Step, Workflow
from streamforge.manager.workflows.topics.model import TopicInput
from streamforge_utils.model import names


def environment_of(workflow: Workflow, topic: TopicInput, step: Step) -> Mapping[str, str]:
    """What the job of its sink is told of the topic."""
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
