"""A loader of files: what it tells of a wrong checksum, and records of two files that do not follow each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import msgspec
import pytest
from msgspec.structs import replace

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import ArchiveFile, FileRefused, VerifiedFile
from streamforge_utils.runtime.history.archive_loader import load_archive

DAY = parse_time_range("2024-08-01")
FILE = ArchiveFile(path="BTCUSDT-1h-2024-08-01.zip", span=DAY, size=1, published="1")
DISPUTED = [{"range": "2024-08-01:2024-08-02", "reason": "published 12, read 34"}]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RetryableError("the disk is full"), {"disputed": DISPUTED}),
        (FileRefused("cut"), {"unloaded": [{"range": "2024-08-01:2024-08-02", "reason": "cut"}], "disputed": []}),
    ],
    ids=["is read in part", "is refused, so that another source takes its place"],
)
async def test_the_doubt_is_told_before_the_file_is_read(error: Exception, told: dict[str, Any]) -> None:
    series = Series("BTCUSDT", "candles", "1h")

    async def records(*_: object) -> AsyncGenerator[Page, None]:
        ctx.report.assert_awaited_once_with({"disputed": DISPUTED}, confirmed=True)
        yield Page([DAY.start_ms], [DAY.start_ms], [b"key"], [b"{}"])
        raise error

    archive = SimpleNamespace(
        files=AsyncMock(return_value=[FILE]),
        verify=AsyncMock(return_value=VerifiedFile(file=FILE, sha256="34", disputed="published 12, read 34")),
        records=records,
    )
    ctx = context(series, archive)
    with suppress(RetryableError):
        await load_archive(cast(Any, ctx))
    assert ctx.terminal_extra == told


@pytest.mark.parametrize(("last", "reason"), [(2, ""), (3, "aggregate 1 ends with trade 3, and 2 begins with 3")])
async def test_records_of_a_day_and_of_a_month_that_takes_the_place_of_the_next_one_follow_each_other(
    last: int, reason: str
) -> None:
    month = replace(FILE, path="BTCUSDT-aggTrades-2024-08.zip", span=parse_time_range("2024-08"))
    two_days = parse_time_range("2024-08-01:2024-08-03")

    async def records(_: Series, verified: VerifiedFile) -> AsyncGenerator[Page, None]:
        one, two = aggregate(1, 1, last, DAY.start_ms), aggregate(2, 3, 4, DAY.end_ms)
        found = [one] if verified.file is FILE else [aggregate(1, 1, 2, DAY.start_ms), two]
        times = [DAY.start_ms, DAY.end_ms][: len(found)]
        yield Page([1, 2][: len(found)], times, [b"key"] * len(found), found)

    ctx = context(
        Series("BTCUSDT", "agg_trades"),
        SimpleNamespace(
            files=AsyncMock(return_value=[month, FILE]),
            verify=AsyncMock(side_effect=lambda _, file: VerifiedFile(file=file, sha256="34")),
            records=records,
        ),
        two_days,
    )
    await load_archive(cast(Any, ctx))
    unloaded = [(one["range"], one["reason"]) for one in ctx.terminal_extra.get("unloaded", ())]
    assert unloaded == ([("2024-08-02:2024-08-03", f"{month.path}: {reason}")] if reason else [])


def aggregate(number: int, first: int, last: int, time_ms: int) -> bytes:
    example = kind_of(Series("BTCUSDT", "agg_trades")).example
    return msgspec.json.encode(
        replace(example, trade_id=number, first_trade_id=first, last_trade_id=last, timestamp=time_ms)
    )


def context(series: Series, archive: SimpleNamespace, span: TimeRange = DAY) -> SimpleNamespace:
    return SimpleNamespace(
        archive=archive,
        archive_samples="none",
        attempt=1,
        kind=kind_of(series),
        log=Mock(),
        output=AsyncMock(),
        progress=SimpleNamespace(),
        ranges=(span,),
        report=AsyncMock(),
        series=series,
        terminal_extra={},
    )
