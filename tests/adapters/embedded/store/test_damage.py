"""A collection is read whole on demand, and damage anywhere in its file is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import DamagedFile
from streamforge_utils.ports.store import Document
from tests.limits import LIMIT_S


async def test_a_collection_is_read_whole_within_a_time_and_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_STEPS", 100)
    store = EmbeddedStore(tmp_path)
    body = b'{"x":"%s"}' % (b"x" * 1000)
    await store.upsert("candles", [Document(f"{number:06d}", 1, body) for number in range(3000)])
    assert [await store.check("candles", within_s=s) for s in (LIMIT_S, 0.0, LIMIT_S)] == [True, False, True]
    assert await store.check("nobody", within_s=0.0)
    await store.close()
    [path] = (tmp_path / "documents").glob("candles.*.db")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)
    store = EmbeddedStore(tmp_path)
    assert len(await store.read("candles", limit=1)) == 1, "the first documents are whole"
    with pytest.raises(DamagedFile, match=f"cannot read {path}: the file is broken "):
        await store.check("candles", within_s=LIMIT_S)
    await store.close()
