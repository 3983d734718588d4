"""The JSON that the API answers about the bus' topics and how far they are read."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from streamforge.manager.answers import CURSOR, QUEUE_ID, Moment, meaning, one_of

Kind = Literal["records", "dead-letters", "commands", "events", "other"]
KINDS: tuple[str, ...] = get_args(Kind)
"""What lies on a topic; `other`: messages of another producer, which a workflow stores."""


Order = Literal["name", "messages", "bytes", "rate", "lag"]
"""What topics are sorted by."""


class PartitionOffsets(msgspec.Struct, frozen=True, kw_only=True):
    """What a partition holds: the offsets from `first` to before `end`."""

    partition: int
    first: int
    end: int


class TopicReader(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer group that reads a topic."""

    group: str
    queue_id: str
    step: Annotated[str, meaning("The sink that reads so.", "arango-candles")]
    running: Annotated[bool, meaning("Whether an attempt of it runs, as far as is known.")]
    seen_at: Annotated[Moment | None, meaning("When its latest attempt was last heard of; none: never yet.")]
    committed: Annotated[
        dict[str, int], meaning("By partition, the offset up to which it has committed; empty: nothing yet.", {"0": 17})
    ]
    lag: Annotated[
        int,
        meaning("Messages that it has still to read, with the marker that ends its input; 0 of a sink that finished."),
    ]
    rate: Annotated[float | None, meaning("Messages a second that it committed, since an earlier look at the topic.")]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic, and how far it is read."""

    name: Annotated[str, meaning("", f"{QUEUE_ID}-data")]
    kind: Annotated[str, one_of(KINDS)]
    queue_id: Annotated[str | None, meaning("The workflow whose topic it is.")]
    retention: Annotated[
        str | None,
        one_of(("consumed", "rolling")),
        meaning("consumed: what a reader has not read is kept. rolling: the oldest goes. None: another's topic."),
    ]
    limit_bytes: Annotated[int | None, meaning("Where its producer waits, or the oldest goes.")]
    bytes: Annotated[int | None, meaning("What its messages take; none where the bus does not tell.")]
    messages: Annotated[int, meaning("How many it holds, at most: the offsets between `first` and `end`.")]
    partitions: list[PartitionOffsets]
    readers: list[TopicReader]
    lag: Annotated[int | None, meaning("Of the reader that has most to read; none without readers.")]
    rate: Annotated[float | None, meaning("Messages a second that came, since an earlier look.")]
    rate_seconds: Annotated[float | None, meaning("How long ago that look was; none: this is the first one.")]


class TopicPage(msgspec.Struct, frozen=True, kw_only=True):
    """Topics in the order that was asked for."""

    topics: list[Topic]
    cursor: Annotated[str | None, meaning(CURSOR)] = None
