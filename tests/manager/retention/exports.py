"""An old collection, and what a folder of exports holds of it."""

from __future__ import annotations

import gzip
import hashlib
import json

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.retention.collection_export import MANIFEST
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from streamforge_utils.ports.store import Document
from tests.manager.execution.world import SERIES
from tests.manager.support import DAY_MS, World

OLD = "btcusdt_api_candles_1m_2024_08_01"
KEPT = [{"_key": f"k{n}", "_version": 1, "n": n} for n in range(3)]


async def fill(world: World, name: str, start_ms: int, *, covered: bool = True, series: Series = SERIES) -> None:
    await world.store.upsert(name, [Document(f"k{n}", 1, b'{"n":%d}' % n) for n in range(3)])
    if covered:
        stored = Segment(
            start_ms=start_ms, end_ms=start_ms + DAY_MS, verdict=Verdict.STORED, collection=name, records=3
        )
        await world.deps.coverage.lay_over(series, [stored])


async def content(deps: Dependencies, name: str) -> bytes:
    assert deps.retained is not None
    return b"".join([block async for block in deps.retained.get(name)])


async def lines(deps: Dependencies, name: str) -> list[object]:
    """The documents of a whole export, which must be what its manifest says."""
    manifest = json.loads(await content(deps, f"{name}/{MANIFEST}"))
    parts = [await content(deps, f"{name}/{part['file']}") for part in manifest["parts"]]
    assert [hashlib.sha256(part).hexdigest() for part in parts] == [part["sha256"] for part in manifest["parts"]]
    text = gzip.decompress(b"".join(parts))
    assert (hashlib.sha256(text).hexdigest(), text.count(b"\n")) == (manifest["sha256"], manifest["records"])
    return [json.loads(line) for line in text.splitlines()]


async def folders(deps: Dependencies) -> dict[str, list[str]]:
    """What lies where exports are, by folder."""
    assert deps.retained is not None
    found: dict[str, list[str]] = {}
    async for one in deps.retained.list():
        folder, _, file = one.name.rpartition("/")
        found.setdefault(folder, []).append(file)
    return found


async def exports(deps: Dependencies) -> list[str]:
    """The names of all exports; there is nothing else."""
    found = await folders(deps)
    assert all(MANIFEST in files for files in found.values())
    return list(found)
