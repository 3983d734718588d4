"""What a topic is asked to be."""

from __future__ import annotations

from streamforge_utils.adapters.kafka.topics import SEGMENT_LEAST_BYTES, config_of
from streamforge_utils.ports.bus import Retention, TopicSpec


def test_a_consumed_topic_forgets_nothing_and_a_rolling_one_what_passes_its_cap() -> None:
    consumed = config_of(TopicSpec(name="t", retention=Retention.CONSUMED, max_bytes=1000, readers=("g",)))
    assert (consumed["retention.ms"], consumed["retention.bytes"]) == ("-1", "-1")
    rolling = config_of(TopicSpec(name="t", retention=Retention.ROLLING, max_bytes=64 * 1024 * 1024))
    assert (rolling["retention.ms"], rolling["retention.bytes"]) == ("-1", str(64 * 1024 * 1024))
    assert SEGMENT_LEAST_BYTES <= int(rolling["segment.bytes"]) <= 8 * 1024 * 1024
    assert (consumed["compression.type"], rolling["compression.type"]) == ("lz4", "producer")
