"""What the records of a bar add up to, and what bars of one length add up to in longer ones.

Amounts are added as decimal numbers, so that no sum depends on how the records were cut.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec

from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.bars import DIGITS
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.timeranges import TimeRange

_LAST_DIGITS = (8, 2, 0)
"""How many amounts have behind the point: 8 at most, and few where they are large."""
_TO_WHOLE = 1.5 * 2**52
"""Added and taken away it rounds a double of less than 2^51 to a whole number."""
_EXACT = 10**15


class BarSum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The records of a bar, one at least. time: when the bar opens, unix milliseconds. records: how many there are."""

    time: int
    records: int
    open: float
    high: float
    low: float
    close: float
    volume: Decimal


def fields_of(kind: RecordKind) -> Sequence[str]:
    """The stored fields that `sums_of` takes of each record. Raises PermanentError if no bars can be made of them."""
    if kind.bar_fields is None:
        raise PermanentError(f"no bars can be made of {kind.name}")
    return (kind.time, *kind.bar_fields)


def sums_of(records: Sequence[tuple[Any, ...]], grid: Grid, within: TimeRange) -> list[BarSum]:
    """The bars of stored records; those without a record are left out.

    records: the values of `fields_of` of each, in the order of their positions. grid: of the bars. within: some whole
    bars of it; a record with a time beyond them counts for the nearest one.
    """
    if not records:
        return []
    times = [one[0] for one in records]
    if sorted(times) != times:
        records = sorted(records, key=lambda one: grid.floor(one[0]))  # those of a bar stay in their order
        times = [grid.floor(one[0]) for one in records]
    _, opens, highs, lows, closes, volumes = zip(*records, strict=True)
    amounts, digits = _addable(volumes)
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
                        _as_decimal(sum(amounts[first:end]), digits),
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
                found.append(one if one.time == open_ms else msgspec.structs.replace(one, time=open_ms))
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


def _addable(amounts: Sequence[float]) -> tuple[Sequence[float | Decimal], int]:
    """Numbers that are added without an error, and how many digits more they have before the point than the amounts,
    none of which is negative.

    Doubles that are whole numbers, where those of all amounts are less than 10^15: as one that divided gives the
    amount again, each is the amount as it is written, since no other number of so few digits reads as it.
    """
    for digits in _LAST_DIGITS:
        unit = 10.0**digits
        whole = [amount * unit + _TO_WHOLE - _TO_WHOLE for amount in amounts]
        if sum(whole) < _EXACT and [one / unit for one in whole] == [*amounts]:
            return whole, digits
    return [Decimal(repr(amount)) for amount in amounts], 0


def _as_decimal(number: float | Decimal, digits: int) -> Decimal:
    return number if isinstance(number, Decimal) else Decimal(int(number)).scaleb(-digits)
