"""Messages and documents in columns behave as the sequences that they are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.ports.bus import Message, Received, TopicPartition
from streamforge_utils.ports.columns import (
    DocumentColumns,
    MessageColumns,
    ReceivedColumns,
    ends_of,
    has_key,
    keys_of,
    last_offset_of,
    values_of,
)
from streamforge_utils.ports.packed import encode_columns, pack_of
from streamforge_utils.ports.store import Document

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""However busy the machine is."""

small = st.binary(max_size=4)
headers = st.lists(st.tuples(st.text(max_size=3), small), max_size=2).map(tuple)
plain = st.tuples(st.none() | small, small, st.integers(0, 9), st.just(()))
rows = st.tuples(st.none() | small, small, st.integers(0, 9), headers)
Row = tuple[bytes | None, bytes, int, tuple[tuple[str, bytes], ...]]
bounds = st.none() | st.integers(-7, 7)


def columns(found: Sequence[Row], first: int) -> ReceivedColumns:
    keys, values, times, some = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [], [])
    offsets = range(first, first + len(found))
    return ReceivedColumns("t", 3, offsets, keys, values, times, some if any(some) else None)


def packed(found: Sequence[Row], first: int) -> ReceivedColumns:
    pack = pack_of(encode_columns([row[0] for row in found], [row[1] for row in found]), len(found), "log", "seek")
    assert pack is not None
    offsets, times = range(first, first + len(found)), [row[2] for row in found]
    return ReceivedColumns.packed("t", 3, offsets, times, [pack])


def messages(found: Sequence[Row], first: int) -> list[Received]:
    return [Received("t", 3, at, *row) for at, row in enumerate(found, first)]


@PATIENT
@given(st.lists(rows, max_size=6), st.integers(0, 100), bounds, bounds)
def test_columns_of_messages_are_the_messages(found: list[Row], first: int, start: int | None, end: int | None) -> None:
    made, wanted = columns(found, first), messages(found, first)
    assert len(made) == len(wanted)
    assert list(made) == wanted
    assert [made[at] for at in range(-len(wanted), len(wanted))] == [*wanted, *wanted]
    assert list(made[start:end]) == wanted[start:end]
    assert list(keys_of(made)) == list(keys_of(wanted))
    assert list(values_of(made)) == list(values_of(wanted))
    assert ends_of(made) == ends_of(wanted)


@PATIENT
@given(st.lists(st.tuples(st.lists(rows, min_size=1, max_size=3), st.integers(0, 2)), min_size=1, max_size=4))
def test_parts_are_joined_in_order_with_the_gaps_between_them(parts: list[tuple[list[Row], int]]) -> None:
    made, wanted, first = [], [], 5
    for found, gap in parts:
        first += gap
        made.append(columns(found, first))
        wanted += messages(found, first)
        first += len(found)
    assert list(ReceivedColumns.joined(made)) == wanted


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
    assert list(ReceivedColumns.joined(made)[start:end:step]) == wanted[start:end:step]
    both = ReceivedColumns.joined([columns(parts[0][0], 0), *made])
    assert list(both) == [*messages(parts[0][0], 0), *wanted]
    chosen, kept = ReceivedColumns.joined(made)[start:end][1:], wanted[start:end][1:]
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


def test_the_end_of_each_partition_is_behind_its_last_message() -> None:
    found = [Received("t", 0, 4, None, b"", 0), Received("t", 1, 9, None, b"", 0), Received("t", 0, 5, None, b"", 0)]
    assert ends_of(found) == {TopicPartition("t", 0): 6, TopicPartition("t", 1): 10}
    assert ends_of([]) == {}


@PATIENT
@given(st.lists(st.builds(Message, st.none() | small, small), max_size=6), bounds, bounds)
def test_columns_to_be_sent_are_the_messages(wanted: list[Message], start: int | None, end: int | None) -> None:
    made = MessageColumns([message.key for message in wanted], [message.value for message in wanted])
    assert len(made) == len(wanted)
    assert list(made) == wanted
    assert [made[at] for at in range(-len(wanted), len(wanted))] == [*wanted, *wanted]
    assert list(made[start:end]) == wanted[start:end]


@PATIENT
@given(st.lists(st.builds(Document, st.text(max_size=3), st.integers(0, 9), small), max_size=6), bounds, bounds)
def test_columns_of_documents_are_the_documents(wanted: list[Document], start: int | None, end: int | None) -> None:
    made = DocumentColumns.of(wanted)
    assert DocumentColumns.of(made) is made
    assert len(made) == len(wanted)
    assert list(made) == wanted
    assert [made[at] for at in range(-len(wanted), len(wanted))] == [*wanted, *wanted]
    assert list(made[start:end]) == wanted[start:end]
