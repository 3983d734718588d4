"""What retention has removed is told apart, and is no lack."""

from __future__ import annotations

import asyncio

from streamforge.manager.coverage.store import CoverageStore
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.timeranges import parse_time_range
from tests.cli.support import TYPE, Cli


def test_a_series_is_complete_but_for_what_retention_removed(copied: Cli) -> None:
    async def expire() -> None:
        store = EmbeddedStore(copied.data / "store")
        removed = parse_time_range("2024-08-01:2024-08-01T02:00Z")
        await CoverageStore(store).expire(series_of("BTCUSDT", TYPE), removed, removed.end_ms - 1)
        await store.close()

    asyncio.run(expire())
    told = copied("coverage", "BTCUSDT", TYPE).ok()
    assert told.err.endswith("complete: every hole has its reason; retention has removed 2 h 00 min of it\n")
    known = copied("coverage", "BTCUSDT", TYPE, "--json").ok().json
    assert known["complete"] is True
    assert [(one["verdict"], one["seconds"]) for one in known["verdicts"]] == [("stored", 14400), ("expired", 7200)]
    (series,) = copied("series", "--json").ok().json["series"]
    assert (series["complete"], series["start"]) == (True, "2024-08-01T02:00:00Z")
    queue_id = copied("queues", "--json").ok().json["queues"][0]["queue_id"]
    assert "is not now" not in copied("show", queue_id).ok().out
    export = copied("export", "BTCUSDT", TYPE, "--output", str(copied.data.parent / "found.csv"))
    assert "not complete" in export.err, "of what is asked for not all is there"
