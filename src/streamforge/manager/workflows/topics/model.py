"""What a workflow remembers of the topic that it stores, where that is not one of its own."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from streamforge.manager.engine.document import FormPart, Proof, Workflow
from streamforge_utils.model.topic_reading import PartitionRange, Until, total


class TopicInput(msgspec.Struct, frozen=True, kw_only=True):
    """The topic that a workflow without a loader stores; it is not ours, and nothing but reading is done to it.

    until: what ends the workflow. identity: the bus's, of the topic that was there when the workflow began. ranges:
    where each partition began and ended then; None before its plan. own_collection: nothing lay in its collection then.
    readings: how often it was begun at the beginning again, after a proof found messages that are not stored; each has
    a consumer group of its own. proven: what an earlier reading has read in full. skipped: what the topic removed since
    the workflow began and before it was read; some of it, where it is many ranges.
    ends: by partition, up to where its sink has said that all is stored; what markers end is committed up to these.
    """

    topic: str
    until: Until
    identity: str = ""
    ranges: tuple[PartitionRange, ...] | None = None
    own_collection: bool = False
    proven: tuple[PartitionRange, ...] = ()
    skipped: tuple[PartitionRange, ...] = ()
    ends: Mapping[int, int] = {}
    readings: int = 0

    @property
    def expected(self) -> int | None:
        """How many offsets it has to read; None: that is not known before its end."""
        if self.until.count:
            return self.until.count
        return total(self.ranges) if self.ranges is not None and self.until.is_end else None


class PartitionProof(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a partition's messages from `first` to before `end`, up to which they were stored.

    stored, dead, markers: messages whose document is stored, that are dead letters, that mark the end of a stream.
    missing: those that are nothing of that, and missing_from: the first of them. empty: offsets without a message.
    skipped: offsets that the topic had removed before they were read; gone: those that were read, and that it had
    removed before they could be compared. unread: offsets up to the end of the workflow that were not committed.
    """

    partition: int
    first: int
    end: int
    stored: int = 0
    skipped: int = 0
    dead: int = 0
    markers: int = 0
    missing: int = 0
    missing_from: int | None = None
    empty: int = 0
    gone: int = 0
    unread: int = 0

    @property
    def lacking_from(self) -> int:
        """Up to here all was found, or was gone."""
        return self.end if self.missing_from is None else self.missing_from


class TopicProof(Proof, frozen=True, kw_only=True):
    """What the latest proof found of each partition; expected: how many messages there were, stored: documents."""

    partitions: tuple[PartitionProof, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every message is stored or a dead letter."""
        return not self.missing and not any(one.skipped for one in self.partitions)

    @property
    def missing(self) -> int:
        """Messages that are neither stored nor dead letters, or were not read."""
        return sum(one.missing + one.unread for one in self.partitions)


class Topics(FormPart, msgspec.Struct, frozen=True, kw_only=True, tag="topics"):
    """The part of the document of a workflow that stores a topic. planned: where it begins and ends is known."""

    input: TopicInput
    planned: bool = False
    proof: TopicProof | None = None

    @property
    def is_prepared(self) -> bool:
        return self.planned


def topic_of(workflow: Workflow) -> TopicInput | None:
    """The topic that it stores; None: it stores none but its own."""
    return workflow.form.input if isinstance(workflow.form, Topics) else None
