"""How a log stores messages: what is packed is unpacked as it was, and joined in order; what is broken is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.adapters.embedded.bus.batch_format import StoredBatch, join, pack, unpack
from streamforge_utils.model.errors import ConfigError, TooLarge
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.columns import MessageColumns
from tests.ports.test_columns import Row, columns, messages, rows

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""However busy the machine is."""

KEYS, VALUES = [b"k"] * 40, [b"v"] * 40


@PATIENT
@given(st.lists(st.tuples(st.lists(rows, min_size=1, max_size=3), st.integers(0, 2)), min_size=1, max_size=4))
def test_parts_are_joined_in_order_with_the_gaps_between_them(parts: list[tuple[list[Row], int]]) -> None:
    made, wanted, first = [], [], 5
    for found, gap in parts:
        first += gap
        made.append(columns(found, first))
        wanted += messages(found, first)
        first += len(found)
    joined = join(made)
    assert list(joined) == wanted
    assert [one.headers for one in joined[1:]] == [one.headers for one in wanted[1:]]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ((KEYS, VALUES[1:], None), "as many messages"),
        ((KEYS[1:], VALUES, None), "as many messages"),
        ((KEYS * 2, VALUES * 2, None), "as many messages"),
        ((KEYS, VALUES, [()]), "as many messages"),
        ((KEYS, [*VALUES[1:], "a text"], None), "Expected `bytes`"),
        ((None, VALUES, None), "Expected `array`"),
        (7, "Expected `array`"),
    ],
)
def test_a_body_that_is_not_the_batch_is_named(body: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^a.log: the batch that ends with offset 49 is broken.*{why}.*seek"):
        unpack("topic", StoredBatch(49, 40, 1, msgspec.msgpack.encode(body)), 0, "a.log")


@pytest.mark.parametrize("cut", [0, 1, 40, 100])
def test_a_body_that_was_cut_off_is_named(cut: int) -> None:
    body = msgspec.msgpack.encode((KEYS, VALUES, None))
    assert [one.offset for one in unpack("topic", StoredBatch(49, 40, 1, body), 47, "a.log")] == [47, 48, 49]
    with pytest.raises(ConfigError, match="offset 49 is broken"):
        unpack("topic", StoredBatch(49, 40, 1, body[:cut]), 0, "a.log")


@pytest.mark.parametrize("largest", [10, 60, 100, 101])
@pytest.mark.parametrize("count", [0, 1, 1000, 2500])
def test_columns_are_packed_as_the_messages_are(count: int, largest: int) -> None:
    sent = [Message(None if at % 7 == 0 else b"%d" % at, b"v" * (at % largest)) for at in range(count)]
    apart = MessageColumns([message.key for message in sent], [message.value for message in sent])
    ways = [pack("topic", one, batch_bytes=70_000, message_limit=120) for one in (sent, apart)]
    assert ways[0] == ways[1]
    assert sum(batch.count for batch in ways[1]) == count


def test_columns_with_a_message_that_is_too_large_are_refused_as_the_messages_are() -> None:
    sent = [Message(b"k", b"v" * (86 if at == 3 else 1)) for at in range(5)]
    for one in (sent, MessageColumns([b"k"] * 5, [message.value for message in sent])):
        with pytest.raises(TooLarge, match=r"^topic topic: message 3 of 5 \(key b'k'\) has 103 bytes, .* limit of 102"):
            pack("topic", one, batch_bytes=1000, message_limit=102)
