"""The copy of a store as JSON lines: all kinds of states and every document, back in an empty store only."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge.manager import persistence
from streamforge.manager.engine import persistence as engine_persistence
from streamforge.manager.persistence import installation, store_backup
from streamforge.manager.persistence.installation import Holder, Installation, Installations
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.adapters.kubernetes import job_records
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.ports.store import Document

MADE = {"made_at": "2024-08-01T00:00:00Z", "made_by": "test"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    found = EmbeddedStore(tmp_path / "store")
    await found.upsert("candles", [Document(f"k{n:05}", n, b'{"n":%d}' % n) for n in range(5001)])
    for number, kind in enumerate(store_backup.KINDS):
        await found.put(kind, f"{kind}-id", b"no JSON: \xc3\xa9", expected=None, labels={"a": kind}, created_ms=number)
    yield found
    await found.close()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    found = EmbeddedStore(tmp_path / "other")
    yield found
    await found.close()


async def test_every_document_and_state_comes_back(store: EmbeddedStore, other: EmbeddedStore, tmp_path: Path) -> None:
    made = await store_backup.back_up(store, tmp_path / "copy", **MADE)
    assert (made.documents, made.states) == ({"candles": 5001}, len(store_backup.KINDS))
    assert await store_backup.restore(other, tmp_path / "copy") == made
    assert await other.read("candles", limit=10_000) == await store.read("candles", limit=10_000)
    for kind in store_backup.KINDS:
        (was,), (is_now,) = await store.find(kind), await other.find(kind)
        assert (is_now.id, is_now.body, is_now.labels, is_now.created_ms) == (
            was.id,
            was.body,
            was.labels,
            was.created_ms,
        )


async def test_which_exchange_the_data_are_of_comes_back_and_a_lease_does_not(
    store: EmbeddedStore, other: EmbeddedStore, tmp_path: Path
) -> None:
    holder = Holder(id="1", name="a manager", since_ms=0, lease_s=20.0)
    await Installations(store).write(Installation(origin="test", choice="test", holder=holder), None)
    made = await store_backup.back_up(store, tmp_path / "copy", **MADE)
    assert made.states == len(store_backup.KINDS) + 1
    restoring = Holder(id="2", name="streamforge restore", since_ms=0, lease_s=20.0)
    await Installations(other).write(Installation(holder=restoring), None)
    await store_backup.restore(other, tmp_path / "copy")
    kept, _ = await Installations(other).read()
    assert kept == Installation(origin="test", choice="test", holder=restoring)


async def test_a_store_that_holds_something_is_left_as_it_is(store: EmbeddedStore, tmp_path: Path) -> None:
    await store_backup.back_up(store, tmp_path / "copy", **MADE)
    with pytest.raises(InvalidInput, match="the store is not empty"):
        await store_backup.restore(store, tmp_path / "copy")
    with pytest.raises(InvalidInput, match="copy exists"):
        await store_backup.back_up(store, tmp_path / "copy", **MADE)


async def test_a_damaged_copy_is_refused_before_anything_is_written(
    store: EmbeddedStore, other: EmbeddedStore, tmp_path: Path
) -> None:
    await store_backup.back_up(store, tmp_path / "copy", **MADE)
    file = tmp_path / "copy" / "documents-000000.jsonl.gz"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"documents-000000\.jsonl\.gz is damaged"):
        await store_backup.restore(other, tmp_path / "copy")
    assert await other.names() == []
    file.unlink()
    with pytest.raises(ConfigError, match="is missing"):
        await store_backup.restore(other, tmp_path / "copy")


def test_the_kinds_are_all_that_others_write() -> None:
    packages = (persistence, engine_persistence)
    modules = [one for of in packages for one in pkgutil.iter_modules(of.__path__, f"{of.__name__}.")]
    named = [vars(one) for one in (job_records, *(importlib.import_module(module.name) for module in modules))]
    found = {value for one in named for name, value in one.items() if name.endswith("KIND") and isinstance(value, str)}
    assert found - {installation.KIND} == set(store_backup.KINDS)
