"""A loader of files tells what it took from a file with a wrong checksum, also where it does not read it to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest

from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.archive import ArchiveFile, FileRefused, VerifiedFile
from streamforge_utils.runtime.archive_loader import load_archive

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
    ctx = SimpleNamespace(
        archive=archive,
        archive_samples="none",
        attempt=1,
        kind=kind_of(series),
        log=Mock(),
        output=AsyncMock(),
        progress=SimpleNamespace(),
        ranges=(DAY,),
        report=AsyncMock(),
        series=series,
        terminal_extra={},
    )
    with suppress(RetryableError):
        await load_archive(cast(Any, ctx))
    assert ctx.terminal_extra == told
