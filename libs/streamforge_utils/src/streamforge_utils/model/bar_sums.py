"""What the records of a bar add up to, and what bars of one length add up to in longer ones.

Amounts are added as decimal numbers, so that no sum depends on how the records were cut.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import islice
from operator import attrgetter, le
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
    decode, fields = _decoder(kind)
    try:
        records = decode(bodies)
    except DECODE_ERRORS as error:
        raise PermanentError(f"a stored document is no record of {kind.name}: {error}") from error
    if not records:
        return []
    times = list(map(attrgetter(kind.time), records))
    if not all(map(le, times, islice(times, 1, None))):
        records.sort(key=lambda one: grid.floor(getattr(one, kind.time)))  # those of a bar stay in the order of keys
        times = [grid.floor(getattr(one, kind.time)) for one in records]
    opens, highs, lows, closes, volumes = _columns(records, fields)
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


def _columns(records: Sequence[Any], fields: tuple[str, ...]) -> list[list[Any]]:
    """A column for each field; one that is named twice is read once."""
    columns = {name: list(map(attrgetter(name), records)) for name in dict.fromkeys(fields)}
    return [columns[name] for name in fields]


@lru_cache(maxsize=64)
def _decoder(kind: RecordKind) -> tuple[Any, tuple[str, ...]]:
    """Reads of stored documents only what counts: prices as the doubles that they are, the volume as decimal number."""
    fields = kind.bar_fields
    if fields is None:
        raise PermanentError(f"no bars can be made of {kind.name}")
    types: dict[str, type] = {kind.time: int, **dict.fromkeys(fields[:4], float), fields[4]: Decimal}
    read = msgspec.defstruct(f"{kind.name}_bar", list(types.items()), gc=False)
    return msgspec.json.Decoder(list[read]).decode, fields  # type: ignore[valid-type]
