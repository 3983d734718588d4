"""Records of each kind as frames: values and types, no record at all, what is no number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from streamforge.scripting.frames import FRAMES, builder_of
from streamforge_utils.model.kinds.registry import kind_of_type
from tests.scripting.test_stored_series import AS_ROWS, DTYPES

TRADES = kind_of_type("api_trades")
ROWS = [
    {
        "symbol": "BTCUSDT",
        "trade_id": 2**53 + number,
        "price": 0.1 + number,
        "quantity": 5e-324,
        "timestamp": 1_722_470_400_001 + number,
        "is_buyer_maker": bool(number % 2),
    }
    for number in range(7)
]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("parts", [(7,), (3, 4), (1,) * 7, ()])
def test_trades_keep_their_ids_flags_and_numbers(frame: str, parts: tuple[int, ...]) -> None:
    builder = builder_of(frame, TRADES)
    records, first = msgspec.convert(ROWS, list[TRADES.stored]), 0  # type: ignore[name-defined]
    for size in parts:
        builder.add(records[first : first + size])
        first += size
    found = builder.frame()
    expected = [
        {**row, "timestamp": datetime(2024, 8, 1, microsecond=1000 * (1 + number), tzinfo=UTC)}
        for number, row in enumerate(ROWS[:first])
    ]
    assert AS_ROWS[frame](found) == expected
    flags = {"polars": "Boolean", "pandas": "bool", "arrow": "bool"}
    assert DTYPES[frame](found)[-1] == flags[frame]


class _Odd(msgspec.Struct, frozen=True):
    at: int
    tags: list[str]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_field_that_is_no_value_comes_as_json(frame: str) -> None:
    class Odd:
        stored, columns, times = _Odd, ("at", "tags"), ()

    odd: Any = Odd
    builder = builder_of(frame, odd)
    builder.add([_Odd(1, ["a", "b"])])
    assert AS_ROWS[frame](builder.frame()) == [{"at": 1, "tags": '["a","b"]'}]
