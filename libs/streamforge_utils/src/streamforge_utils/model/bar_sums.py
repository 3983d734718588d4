"""What the records of a bar add up to, and what bars of one length add up to in longer ones.

Amounts are added as decimal numbers, so that no sum depends on how the records were cut.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.bars import DIGITS
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.timeranges import TimeRange


class BarSum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The records of a bar, one at least. time: when the bar opens, unix milliseconds. records: how many there are."""

    time: int
    records: int
    open: float
    high: float
    low: float
    close: float
    volume: Decimal


def sums_of(kind: RecordKind, bodies: bytes, grid: Grid, within: TimeRange) -> list[BarSum]:
    """The bars of stored documents, a JSON array in the order of their keys; those without a record are left out.

    grid: of the bars. within: some whole bars of it; a record with a time beyond them counts for the nearest one.
    Raises PermanentError for what is no record of the kind.
    """
    decode, one_price = _decoder(kind)
    try:
        records = decode(bodies)
    except DECODE_ERRORS as error:
        raise PermanentError(f"a stored document is no record of {kind.name}: {error}") from error
    if not records:
        return []
    times = [one.time for one in records]
    if sorted(times) != times:
        records.sort(key=lambda one: grid.floor(one.time))  # those of a bar stay in the order of keys
        times = [grid.floor(one.time) for one in records]
    opens = [one.open for one in records]
    highs, lows, closes = [opens] * 3 if one_price else _columns(records)
    volumes = [one.volume for one in records]
    found, first = list[BarSum](), 0
    begin_ms = max(within.start_ms, grid.floor(min(times[0], within.end_ms - 1)))
    with localcontext(prec=DIGITS):
        for open_ms in grid.times(begin_ms, within.end_ms):
            if first == len(times):
                break
            next_ms = grid.next(open_ms)
            end = len(times) if next_ms >= within.end_ms else bisect_left(times, next_ms, first)
            if end > first:
                found.append(
                    BarSum(
                        open_ms,
                        end - first,
                        opens[first],
                        max(highs[first:end]),
                        min(lows[first:end]),
                        closes[end - 1],
                        sum(volumes[first:end], Decimal(0)),
                    )
                )
                first = end
    return found


def merged(sums: Iterable[BarSum], grid: Grid) -> list[BarSum]:
    """Longer bars, of `grid`, made of shorter ones, which are ascending."""
    found, end_ms = list[BarSum](), -1
    with localcontext(prec=DIGITS):
        for one in sums:
            if one.time >= end_ms:
                open_ms = grid.floor(one.time)
                end_ms = grid.next(open_ms)
                found.append(msgspec.structs.replace(one, time=open_ms))
                continue
            last = found[-1]
            found[-1] = BarSum(
                last.time,
                last.records + one.records,
                last.open,
                max(last.high, one.high),
                min(last.low, one.low),
                one.close,
                last.volume + one.volume,
            )
    return found


def _columns(records: Sequence[Any]) -> list[list[float]]:
    """What is highest, lowest and last in each record."""
    return [[one.high for one in records], [one.low for one in records], [one.close for one in records]]


@lru_cache(maxsize=64)
def _decoder(kind: RecordKind) -> tuple[Any, bool]:
    """Reads of stored documents only what counts, under the names of a bar: prices as the doubles that they are, the
    volume as decimal number. And whether a record has one price alone, which is read as `open`."""
    fields = kind.bar_fields
    if fields is None:
        raise PermanentError(f"no bars can be made of {kind.name}")
    one_price = len({*fields[:4]}) == 1
    prices = ("open",) if one_price else ("open", "high", "low", "close")
    types: dict[str, type] = {"time": int, **dict.fromkeys(prices, float), "volume": Decimal}
    stored_as = {"time": kind.time, **dict(zip(prices, fields, strict=False)), "volume": fields[4]}
    read = msgspec.defstruct(f"{kind.name}_bar", list(types.items()), rename=stored_as, gc=False)
    return msgspec.json.Decoder(list[read]).decode, one_price  # type: ignore[valid-type]
