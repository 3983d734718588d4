"""What a batch loads of symbols that only the archive has, and of `since last`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput, RetryableError
from streamforge_utils.model.kinds.registry import series_of
from tests.doubles.memoryarchive import MemoryArchive, with_files
from tests.manager.batches.batch_world import (
    TYPE,
    batch_world,
    begun,
    live,
    look,
    shown,
    symbols,
)
from tests.manager.execution.world import SERIES
from tests.manager.execution.world import stored as bars
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW


class Listing(MemoryArchive):
    """The archive has a symbol that the exchange lists no longer."""

    async def symbols(self, kind: str) -> Sequence[str]:
        if self.failing is not None:
            raise self.failing
        return ["GONEBTC", "GONEUSDT", "S001USDT"]


async def test_what_only_the_archive_has_is_told() -> None:
    archive = Listing()
    world = await batch_world(2, archive=archive)
    found = await shown(world, await begun(world, "*USDT", source=SourceChoice.REST))
    assert (found.batch.left_out, found.batch.left_out_first, found.batch.size) == (1, ("GONEUSDT",), 2)
    await look(world)
    assert {one.part(History).source for one in live(world)} == {SourceChoice.REST}
    found = await shown(world, await begun(world, "*USDT", type="api_trades"))
    assert (found.batch.left_out, found.batch.archived, found.batch.size) == (0, 1, 3), "read of files proves ids"
    archive.failing = RetryableError("no route")
    found = await shown(world, await begun(world, "*USDT"))
    assert (found.batch.size, found.batch.archive_silence.endswith("is not known: no route")) == (2, True)
    with pytest.raises(InvalidInput, match=r"GONEUSDT.*is not known: no route"):
        await begun(world, "GONEUSDT")
    assert (await shown(world, await begun(world, *symbols(2)))).batch.archive_silence == "", "it was not asked"


async def test_what_only_the_archive_has_is_loaded_from_there() -> None:
    with with_files(SERIES):
        world = await batch_world(2, archive=Listing())
        for words in (("*USDT",), ("GONEUSDT", *symbols(2))):
            batch_id = await begun(world, *words)
            found = await shown(world, batch_id)
            assert (found.batch.size, found.batch.archived, found.batch.left_out) == (3, 1, 0)
            assert [member.delisted for member in found.members if member.archived] == [True]
        await look(world)
        sources = {(one.symbol, one.part(History).source) for one in live(world)}
        assert sources == {("GONEUSDT", "archive"), *((one, "auto") for one in symbols(2))}


async def test_since_last_goes_on_where_the_coverage_of_each_symbol_ends() -> None:
    world = await batch_world(4)
    for symbol, minutes in zip(symbols(3), (720, (NOW - DAY_START) // MINUTE_MS, 1440), strict=True):
        await world.deps.coverage.lay_over(series_of(symbol, TYPE), [bars(0, minutes)])
    last = {"time_range": "", "since": "last"}
    batch_id = await begun(world, "*USDT", **last)
    await look(world)
    assert not live(world), "their ranges are stored first"
    await look(world)
    found = await shown(world, batch_id)
    assert [one.status.value for one in found.members] == ["live", "closed", "live", "error"]
    spans = {one.symbol: (one.span.start_ms, one.span.end_ms, one.requested) for one in live(world)}
    half, whole = DAY_START + DAY_MS // 2, DAY_START + DAY_MS
    assert spans == {"S000USDT": (half, NOW, "since last"), "S002USDT": (whole, NOW, "since last")}
    assert "S001USDT/candles/1m has nothing new since" in found.members[1].reason
    assert "give a start with `from`" in found.members[3].reason
    assert (found.batch.requested, found.batch.span.end_ms, found.batch.clipped) == ("since last", NOW, False)
    begun_later = await begun(world, "S003USDT", **last, default_start="2024-08-02")
    await look(world, 2)
    assert live(world)[-1].span.start_ms == whole
    assert (await shown(world, begun_later)).batch.span.start_ms == whole
    early = await begun(world, "S003USDT", type=TYPE, time_range="", since="2024-08-01T12:00Z")
    assert (await shown(world, early)).batch.span.start_ms == half
