"""Converting many records at once gives what converting each alone gives."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import KIND, Candles, encode_candle
from streamforge_utils.ports.columns import RecordColumns
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.sink.conversion import PART_RECORDS, convert
from tests.doubles.candles import candle

START, MINUTE = 1_722_470_400_000, 60_000
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
"""However busy the machine is."""

Record = tuple[bytes | None, bytes]


def good(number: int, **changes: str) -> Record:
    made = msgspec.structs.replace(candle(START + number * MINUTE, version=number), **changes)
    return made.key.encode(), encode_candle(made)


def each(records: Sequence[Record]) -> tuple[list[Document], list[tuple[int, str]]]:
    """What becomes of every record alone."""
    documents, refused = list[Document](), list[tuple[int, str]]()
    for at, (key, value) in enumerate(records):
        try:
            documents.append(Document(*KIND.document(key, value)))
        except PermanentError as error:
            refused.append((at, str(error)))
    return documents, refused


def together(records: Sequence[Record]) -> tuple[list[Document], list[tuple[int, str]]]:
    """What becomes of them at once."""
    converted = convert(KIND, *columns(records))
    return list(converted.documents), converted.refused


def columns(records: Sequence[Record]) -> tuple[list[bytes | None], list[bytes]]:
    return [key for key, _ in records], [value for _, value in records]


numbers = st.one_of(
    st.decimals(0, 10**12, places=8, allow_nan=False).map(lambda number: f"{number:f}"),
    st.floats(0, allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["0", "0.00000000", "0.1", "1e-8", "123456789012345678901234567890.5", "9007199254740993", "5e-324"]
    ),
)
BAD = st.sampled_from(
    [
        (b"k", b"no json"),
        (None, b""),
        good(1, close="nan"),
        good(2, open="-1"),
        (b"BTCUSDT_1m_1", good(3)[1]),
        (None, good(4)[1]),
        (b"a\nb", good(5)[1]),
        good(6, symbol="ETHUSDT"),
        good(7, interval="7m"),
        good(8, key="BTCUSDT_1m_1"),
    ]
)
records_ = st.lists(st.one_of(st.builds(lambda n, t: good(n, high=t, volume=t), st.integers(0, 9), numbers), BAD))


@PATIENT
@given(records_)
def test_many_at_once_become_what_each_alone_becomes(records: list[Record]) -> None:
    assert together(records) == each(records)


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 10**6), numbers, numbers), min_size=1, max_size=20))
def test_the_fast_way_gives_the_same_bytes(found: list[tuple[int, str, str]]) -> None:
    records = [good(number, low=low, quote_asset_volume=volume) for number, low, volume in found]
    assert KIND.records(*columns(records)) is not None
    assert together(records) == each(records)


def test_one_bad_record_among_many_is_found_where_it_is() -> None:
    records = [good(number) for number in range(2 * PART_RECORDS + 7)]
    records[PART_RECORDS + 3] = (b"k", b"bad")
    converted = convert(KIND, *columns(records))
    assert [at for at, _ in converted.refused] == [PART_RECORDS + 3]
    assert (list(converted.documents), converted.refused) == each(records)
    assert isinstance(converted.documents, RecordColumns), "the others are stored as records all the same"
    at = converted.good(len(records))
    assert list(at) == [n for n in range(len(records)) if n != PART_RECORDS + 3]
    assert [converted.documents.keys[n].encode() for n in range(len(at))] == [records[n][0] for n in at]


def test_a_plugin_that_makes_its_documents_by_itself_is_asked_for_each() -> None:
    class Own(Candles):
        def document(self, key: bytes | None, value: bytes) -> tuple[str, int, bytes]:
            made, version, _ = super().document(key, value)
            return made, version, b'{"own":true}'

    records = [good(number) for number in range(3)]
    converted = convert(Own(), *columns(records))
    assert [one.body for one in converted.documents] == [b'{"own":true}'] * 3
    assert not isinstance(converted.documents, RecordColumns)
    assert not converted.refused
