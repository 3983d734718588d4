"""What commands say of a workflow that stores a topic."""

from __future__ import annotations

from streamforge.cli import terminal
from streamforge.cli.session import Where
from streamforge.manager import answers
from streamforge.manager.workflows.topics.answers import PartitionProof, TopicInput

_SHOWN = 12
_UNTIL = {"end": "to where it ends now", "stop": "until it is stopped"}


def topic_description(workflow: answers.Started, topic: TopicInput) -> str:
    """What was begun."""
    return f"{workflow.queue_id}: {topic_line(workflow, topic)}"


def topic_line(workflow: answers.Workflow, topic: TopicInput) -> str:
    """Which topic is stored, where, and what ends it."""
    word, _, rest = topic.until.partition(":")
    until = _UNTIL.get(word) or (
        f"until {rest} messages are read" if word == "count" else f"until the marker of {rest}"
    )
    return f"topic {topic.topic} into {workflow.collection}, {until}"


def messages(count: int) -> str:
    """A count of messages."""
    return terminal.many(count, "message")


def tell_topic(workflow: answers.Started, seconds: float, where: Where) -> None:
    """Print the outcome for the topic."""
    topic, progress = workflow.topic_input, workflow.progress
    how = "in" if workflow.status == "finished" else "after"
    ended = f"{workflow.queue_id} {workflow.status} {how} {terminal.duration(seconds)}"
    if topic is None or not topic.partitions:
        terminal.write(f"{ended}: {messages(progress.records_stored)} stored, not proven")
        return
    dead = sum(one.dead for one in topic.partitions)
    missing = sum(one.missing + one.unread + one.skipped for one in topic.partitions)
    # Not records: of messages with the same key, the latest is kept.
    parts = [f"{messages(sum(one.stored for one in topic.partitions))} stored"]
    if dead:
        parts.append(f"{terminal.number(dead)} dead (`streamforge dlq list {workflow.queue_id}{where.flags()}`)")
    parts.append(f"{terminal.number(missing)} not stored" if missing else "every message of the topic is accounted for")
    terminal.write(f"{ended}: {', '.join(parts)}")
    show_partitions(topic)


def show_partitions(topic: TopicInput) -> None:
    """The proof on stdout, a line per partition."""
    for one in topic.partitions[:_SHOWN]:
        terminal.write(f"  partition {one.partition}, offsets {one.first} to before {one.end}: {_counts(one)}")
    if len(topic.partitions) > _SHOWN:
        terminal.write(f"  and {len(topic.partitions) - _SHOWN} more partitions")


def _counts(one: PartitionProof) -> str:
    missing = one.missing and f"from offset {one.missing_from}"
    counts = (
        (one.stored, "stored"),
        (one.dead, "dead"),
        (one.markers, "end-of-stream markers"),
        (one.missing, f"missing {missing}"),
        (one.unread, "still to be read"),
        (one.skipped, "removed from the topic before they were read"),
        (one.empty, "offsets without a message"),
        (one.gone, "removed from the topic before they were compared"),
    )
    return ", ".join(f"{terminal.number(number)} {what}" for number, what in counts if number) or "nothing"
