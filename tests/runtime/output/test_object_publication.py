"""What is published keeps its bytes, though others publish the same name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import ConflictError, PermanentError, RetryableError
from streamforge_utils.ports.object_store import ObjectInfo
from streamforge_utils.runtime.output.object_publication import publish
from tests.contracts.objects import content


async def test_equal_bytes_are_published_by_many_and_put_once(tmp_path: Path) -> None:
    stores = [ObjectFolder(tmp_path) for _ in range(6)]
    await publish(stores[0], "m/manifest.json", b"same", "remove it")
    before = (tmp_path / "m" / "manifest.json").stat()
    await asyncio.gather(*(publish(one, "m/manifest.json", b"same", "remove it") for one in stores))
    after = (tmp_path / "m" / "manifest.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_other_bytes_stay_and_the_error_says_what_differs(tmp_path: Path) -> None:
    store = ObjectFolder(tmp_path)
    await publish(store, "m/a", b"first", "take another name")
    with pytest.raises(
        PermanentError,
        match=r"object m/a is published already with 5 bytes of SHA-256 a7937b64b8ca…, and this one has "
        r"6 bytes of SHA-256 16367aacb67a…: what is there stays; take another name",
    ):
        await publish(store, "m/a", b"second", "take another name")
    assert await content(store, "m/a") == b"first"


async def test_what_is_damaged_is_replaced(tmp_path: Path) -> None:
    store = ObjectFolder(tmp_path)
    await publish(store, "m/a", b"content", "remove it")
    (tmp_path / "m" / "a").write_bytes(b"c?ntent")
    await publish(store, "m/a", b"content", "remove it")
    assert await content(store, "m/a") == b"content"


async def test_what_is_deleted_meanwhile_is_published(tmp_path: Path) -> None:
    class Emptied(ObjectFolder):
        async def get(self, name: str, *, start: int = 0) -> AsyncIterator[bytes]:
            await self.delete([name])
            async for block in super().get(name, start=start):
                yield block

    await ObjectFolder(tmp_path).put("m/a", b"other")
    await publish(Emptied(tmp_path), "m/a", b"content", "remove it")
    assert await content(ObjectFolder(tmp_path), "m/a") == b"content"


async def test_what_seems_there_but_is_not_found_is_given_up(tmp_path: Path) -> None:
    class Contradicting(ObjectFolder):
        puts = 0

        async def put(self, name: str, content: bytes | Path, *, expected: str | None = None) -> ObjectInfo:
            self.puts += 1
            raise ConflictError(f"object {name} is there")

    store = Contradicting(tmp_path)
    with pytest.raises(RetryableError, match="object m/a could not be published: 10 times"):
        await publish(store, "m/a", b"content", "remove it")
    assert store.puts == 10
