"""Messages that lie encoded behave as the sequences that they are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.adapters.embedded.bus.batch_format import PackedColumns, join, pack, pack_of
from streamforge_utils.model.errors import TooLarge
from streamforge_utils.ports.bus import Message
from streamforge_utils.ports.columns import MessageColumns, encode_columns, ends_of, has_key, last_offset_of
from tests.ports.test_columns import Row, bounds, columns, messages, plain, rows, small

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""However busy the machine is."""


def packed(found: Sequence[Row], first: int) -> PackedColumns:
    one = pack_of(encode_columns([row[0] for row in found], [row[1] for row in found]), len(found), "log", "seek")
    assert one is not None
    return PackedColumns("t", 3, range(first, first + len(found)), [row[2] for row in found], [one])


@PATIENT
@given(st.lists(st.tuples(st.lists(rows, min_size=1, max_size=3), st.integers(0, 2)), min_size=1, max_size=4))
def test_parts_are_joined_in_order_with_the_gaps_between_them(parts: list[tuple[list[Row], int]]) -> None:
    made, wanted, first = [], [], 5
    for found, gap in parts:
        first += gap
        made.append(columns(found, first))
        wanted += messages(found, first)
        first += len(found)
    assert list(join(made)) == wanted


@PATIENT
@given(
    st.lists(st.tuples(st.lists(plain, min_size=1, max_size=3), st.integers(0, 2)), min_size=1, max_size=4),
    bounds,
    bounds,
    small,
    st.data(),
)
def test_encoded_messages_are_the_messages(
    parts: list[tuple[list[Row], int]], start: int | None, end: int | None, key: bytes, data: st.DataObject
) -> None:
    made, wanted, first = [], [], 5
    for found, gap in parts:
        first += gap
        made.append(packed(found, first))
        wanted += messages(found, first)
        first += len(found)
    step = data.draw(st.sampled_from([None, 1, 2, -1]))
    assert list(join(made)[start:end:step]) == wanted[start:end:step]
    both = join([columns(parts[0][0], 0), *made])
    assert list(both) == [*messages(parts[0][0], 0), *wanted]
    chosen, kept = join(made)[start:end][1:], wanted[start:end][1:]
    assert len(chosen) == len(kept)
    assert ends_of(chosen) == ends_of(kept)
    assert has_key(chosen, key) == has_key(kept, key) == (key in [message.key for message in kept])
    assert list(chosen) == kept
    if kept:
        assert last_offset_of(chosen) == last_offset_of(kept) == kept[-1].offset
        assert chosen[-1] == kept[-1]


def test_a_key_is_found_among_encoded_ones_and_not_in_their_values() -> None:
    found = packed([(b"a", b"__eos__", 0, ()), (b"x__eos__", b"", 0, ())], 0)
    assert not has_key(found, b"__eos__")
    assert has_key(packed([(b"a", b"", 0, ()), (b"__eos__", b"", 0, ())], 0), b"__eos__")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (encode_columns([b"k"] * 40, [b"v"] * 40)[:-3], "truncated"),
        (encode_columns([b"k"] * 40, [b"v"] * 39), "as many messages"),
        (encode_columns([b"k"] * 39, [b"v"] * 40), "as many messages"),
        (encode_columns([b"k"] * 70_000, [b"v"] * 70_000), "as many messages"),
        (msgspec.msgpack.encode((None, [b"v"] * 40, None)), "as many messages"),
        (msgspec.msgpack.encode(7), "array"),
        (b"", "truncated"),
    ],
)
def test_a_body_of_another_length_is_found_without_reading_it(body: bytes, why: str) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError), match=why):
        pack_of(body, 40, "log", "seek")
    for count in (0, 15, 16, 40, 65_536):
        assert pack_of(encode_columns([b"k"] * count, [b"v"] * count), count, "log", "seek") is not None


def test_messages_with_headers_are_not_handed_on_encoded() -> None:
    assert pack_of(encode_columns([b"k"], [b"v"], [(("a", b"b"),)]), 1, "log", "seek") is None


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
