"""Where a schedule's records come from: symbols that only the archive has, and one source alone."""

from __future__ import annotations

import pytest

from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.kinds.candles import KIND
from tests.doubles.memoryarchive import MemoryArchive, published
from tests.manager.execution.world import exchange_of
from tests.manager.schedules.schedule_rig import HOUR, rig_of
from tests.manager.support import MINUTE_MS, replace


async def test_a_pattern_takes_in_what_only_the_archive_has_and_waits_until_that_is_known() -> None:
    archive = MemoryArchive([published("2024-03", symbol="GONEUSDT"), published("2024-03", symbol="GONEBTC")])
    rig = await rig_of(replace(HOUR, symbols=("*USDT",)), archive=archive)
    exchange = exchange_of(rig.world)
    exchange.listed = [replace(exchange.listed[0], symbol="BTCUSDT")]
    archive.failing = RetryableError("HTTP 503")
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    assert "only the archive has is not known: HTTP 503" in str((await rig.world.manager.schedules.get("s")).waiting)
    assert await rig.workflows() == []
    archive.failing = None
    await rig.turn()
    assert {one.symbol for one in await rig.workflows()} == {"BTCUSDT", "GONEUSDT"}


async def test_a_pattern_of_a_type_without_files_asks_no_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MemoryArchive()
    archive.failing = PermanentError("the archive has no files of it")
    rig = await rig_of(replace(HOUR, symbols=("*USDT",), type="api_candles_1h"), archive=archive)
    exchange = exchange_of(rig.world)
    exchange.listed = [replace(exchange.listed[0], symbol="BTCUSDT")]
    monkeypatch.setattr(type(KIND), "archive", None)
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    assert {one.symbol for one in await rig.workflows()} == {"BTCUSDT"}


async def test_a_schedule_of_what_only_the_archive_has_is_taken() -> None:
    archive = MemoryArchive([published("2024-03", symbol="GONEUSDT")])
    rig = await rig_of(archive=archive)
    for name, word in (("pattern", "GONE*"), ("symbol", "GONEUSDT")):
        await rig.world.manager.schedules.add(name, replace(HOUR, symbols=(word,)))
    with pytest.raises(InvalidInput, match=r"no symbol of .* fits"):
        await rig.world.manager.schedules.add("none", replace(HOUR, symbols=("NONE*",)))
    archive.failing = RetryableError("HTTP 503")
    listed, _ = await rig.world.manager.schedules.add("silent", replace(HOUR, symbols=("NONE*",)))
    assert "HTTP 503" in str(listed)


async def test_of_requests_alone_no_archive_is_asked_and_the_workflows_ask_none() -> None:
    archive = MemoryArchive([published("2024-03", symbol="GONEUSDT")])
    archive.failing = RetryableError("HTTP 503")
    rig = await rig_of(replace(HOUR, symbols=("*USDT",), source=SourceChoice.REST), archive=archive)
    exchange = exchange_of(rig.world)
    exchange.listed = [replace(exchange.listed[0], symbol="BTCUSDT")]
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    assert [(one.symbol, one.part(History).source) for one in await rig.workflows()] == [("BTCUSDT", SourceChoice.REST)]


async def test_of_files_alone_it_is_refused_where_there_is_no_archive() -> None:
    rig = await rig_of()
    with pytest.raises(InvalidInput, match="there is no archive here"):
        await rig.world.manager.schedules.add("files", replace(HOUR, source=SourceChoice.ARCHIVE))
