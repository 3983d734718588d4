"""What each kind of topic is asked to be: the one definition for services, manifests and documents."""

from __future__ import annotations

from streamforge_utils.ports.bus import HEADERS_BYTES, Retention, TopicSpec

TALK_MAX_BYTES = 64 * 1024 * 1024
"""Of commands, and of events; a heartbeat has about 400 bytes."""

TALK_MAX_AGE_S = 7 * 86_400.0
"""The manager's history keeps events longer than the topic."""

DATA_MAX_BYTES = 96 * 1024 * 1024
"""Of what is unread, some 210,000 candles; beyond it the loader waits for the sink."""

DEAD_LETTERS_MAX_BYTES = 64 * 1024 * 1024
"""Of what was not replayed; a workflow that has more of them fails."""


def talk_topic(name: str) -> TopicSpec:
    """A topic of commands or of events."""
    return TopicSpec(name=name, retention=Retention.ROLLING, max_bytes=TALK_MAX_BYTES, max_age_s=TALK_MAX_AGE_S)


def data_topic(name: str, readers: tuple[str, ...], max_bytes: int = DATA_MAX_BYTES) -> TopicSpec:
    """The records of one workflow. readers: the groups of its sinks."""
    return TopicSpec(name=name, retention=Retention.CONSUMED, max_bytes=max_bytes, readers=readers)


def dead_letters_topic(name: str, readers: tuple[str, ...], max_bytes: int = DEAD_LETTERS_MAX_BYTES) -> TopicSpec:
    """What of a workflow could not be stored: only a replay makes room; unread messages are never dropped."""
    return TopicSpec(
        name=name, retention=Retention.CONSUMED, max_bytes=max_bytes, readers=readers, headers_bytes=HEADERS_BYTES
    )
