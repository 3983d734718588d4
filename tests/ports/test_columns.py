"""Messages and documents in columns behave as the sequences that they are."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.ports.bus import Message, Received
from streamforge_utils.ports.columns import (
    DocumentColumns,
    MessageColumns,
    ReceivedColumns,
    columns_of,
    ends_of,
    has_key,
    last_offset_of,
)
from streamforge_utils.ports.store import Document

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""However busy the machine is."""

small = st.binary(max_size=4)
headers = st.lists(st.tuples(st.text(max_size=3), small), max_size=2).map(tuple)
rows = st.tuples(st.none() | small, small, st.integers(0, 9), headers)
Row = tuple[bytes | None, bytes, int, tuple[tuple[str, bytes], ...]]
bounds = st.none() | st.integers(-7, 7)


def columns(found: Sequence[Row], first: int) -> ReceivedColumns:
    keys, values, times, some = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [], [])
    offsets = range(first, first + len(found))
    return ReceivedColumns("t", 3, offsets, keys, values, times, some if any(some) else None)


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
    keys, values = [message.key for message in wanted], [message.value for message in wanted]
    for either in (made, wanted):
        assert (columns_of(either).keys, columns_of(either).values) == (keys, values)
    assert ends_of(made) == ends_of(wanted)
    for key in (b"", b"a", *keys):
        if key is not None:
            assert has_key(made, key) == has_key(wanted, key) == (key in keys)
    if wanted:
        assert last_offset_of(made) == last_offset_of(wanted) == wanted[-1].offset


def test_the_end_of_each_partition_is_behind_its_last_message() -> None:
    found = [Received("t", 0, 4, None, b"", 0), Received("t", 1, 9, None, b"", 0), Received("t", 0, 5, None, b"", 0)]
    assert ends_of(found) == {0: 6, 1: 10}
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
