"""An old collection is exported and dropped, and ArangoDB's own way in brings it back as it was."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import httpx
import msgspec

from streamforge.manager.coverage.store import CoverageStore
from streamforge.manager.policy import RetentionRule
from streamforge.manager.retention.driver import CollectionRetention
from streamforge_utils.adapters.arango import ArangoStore
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document, Outcome
from tests.adapters.arango.conftest import DATABASE, PASSWORD, double, make, observer, store, version
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.candles import candle_key
from tests.doubles.manualclock import ManualClock
from tests.manager.support import DAY_MS, DAY_START, MINUTE_MS, NOW, World

__all__ = ["double", "make", "observer", "store", "version"]

SERIES = Series("BTCUSDT", "candles", "1m")
OLD = "btcusdt_api_candles_1m_2024_08_01"
TIMES = range(DAY_START, DAY_START + DAY_MS, MINUTE_MS)


def documents() -> list[Document]:
    """A day, with what ArangoDB writes otherwise than we (42000.0), and a version for each."""
    return [
        Document(candle_key("BTCUSDT", "1m", time), time + n, b'{"open_time":%d,"open":%.1f}' % (time, 42_000 + n / 2))
        for n, time in enumerate(TIMES)
    ]


async def test_what_was_exported_and_dropped_is_brought_back_by_an_import(
    store: ArangoStore, double: ArangoDouble, tmp_path: Path
) -> None:
    world = World(clock=ManualClock(NOW))
    await world.start()
    coverage = CoverageStore(store)
    policy = msgspec.structs.replace(world.deps.policy, retention=(RetentionRule("*_1m_*", 5),))
    retained = ObjectFolder(tmp_path)
    deps = msgspec.structs.replace(world.deps, store=store, coverage=coverage, policy=policy, retained=retained)
    assert {answer.outcome for answer in await store.upsert(OLD, documents())} == {Outcome.STORED}
    before = await store.read(OLD, limit=10_000)
    stored = Segment(
        start_ms=DAY_START, end_ms=DAY_START + DAY_MS, verdict=Verdict.STORED, collection=OLD, records=len(TIMES)
    )
    await coverage.lay_over(SERIES, [stored])

    await CollectionRetention(deps).apply()
    assert list(await store.names()) == []
    assert [segment.verdict for segment in await coverage.of(SERIES)] == [Verdict.EXPIRED]
    await world.die()

    (part,) = (tmp_path / OLD).glob("*/*.jsonl.gz")
    lines = gzip.decompress(part.read_bytes())
    assert [json.loads(line)["_key"] for line in lines.splitlines()] == [document.key for document in before]
    assert await _imported(double, lines) == len(TIMES)
    after = await store.read(OLD, limit=10_000)
    assert [_told(document) for document in after] == [_told(document) for document in before]
    # As the coverage does not call them stored they are loaded again, and meet themselves.
    assert [segment.verdict for segment in await coverage.of(SERIES)] == [Verdict.EXPIRED]
    assert {answer.outcome for answer in await store.upsert(OLD, documents())} == {Outcome.UNCHANGED}


async def _imported(double: ArangoDouble, lines: bytes) -> int:
    """What arangoimport does with `--create-collection true`; how many documents were created."""
    who = {"Authorization": "Basic " + base64.b64encode(f"root:{PASSWORD}".encode()).decode()}
    async with httpx.AsyncClient(base_url=f"{double.url}/_db/{DATABASE}", headers=who) as client:
        query = {"collection": OLD, "type": "documents", "complete": "true"}
        assert (await client.post("/_api/import", params=query, content=lines)).status_code == 404, "it is gone"
        (await client.post("/_api/collection", json={"name": OLD})).raise_for_status()
        answer = (await client.post("/_api/import", params=query, content=lines)).raise_for_status()
        return int(answer.json()["created"])


def _told(document: Document) -> tuple[str, int, object]:
    return document.key, document.version, json.loads(document.body)
