"""What the API answers of a workflow that stores a topic."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streamforge.manager.workflows.topics.model import Topics


class PartitionProof(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages of a partition, as the latest proof found it."""

    partition: int
    first: Annotated[int, Meta(description="The oldest offset when the workflow began.")]
    end: Annotated[int, Meta(description="The offset up to which all is stored or refused.")]
    stored: Annotated[int, Meta(description="Messages whose document is in the collection.")]
    skipped: Annotated[
        int, Meta(description="Offsets that the topic had removed before they were read: they are lost.")
    ]
    dead: Annotated[int, Meta(description="Messages that are dead letters.")]
    markers: Annotated[int, Meta(description="End-of-stream markers, which are not stored.")]
    missing: Annotated[int, Meta(description="Messages that are neither.")]
    missing_from: Annotated[int | None, Meta(description="The offset of the first of them.")]
    empty: Annotated[int, Meta(description="Offsets without a message: of transactions, or compacted away.")]
    gone: Annotated[int, Meta(description="Offsets that were read, and removed before the proof could compare them.")]
    unread: Annotated[int, Meta(description="Offsets that are still to be read.")]


class TopicInput(msgspec.Struct, frozen=True, kw_only=True):
    """The topic that a workflow stores."""

    topic: str
    until: Annotated[str, Meta(description="What ends it.", examples=["end", "stop", "count:1000", "marker:producer"])]
    readings: Annotated[int, Meta(description="How often it was read again from the beginning.")]
    complete: Annotated[
        bool | None, Meta(description="Whether the proof found every message stored or dead. None until there is one.")
    ]
    partitions: Annotated[list[PartitionProof], Meta(description="Nothing before the first proof.")]


def topic_answer(part: Topics) -> TopicInput:
    """The topic of a workflow."""
    topic, proof = part.input, part.proof
    partitions = () if proof is None else proof.partitions
    return TopicInput(
        topic=topic.topic,
        until=topic.until.text,
        readings=topic.readings,
        complete=None if proof is None else proof.is_whole,
        partitions=[
            PartitionProof(**{n: getattr(one, n) for n in PartitionProof.__struct_fields__}) for one in partitions
        ],
    )
