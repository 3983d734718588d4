"""What every store of objects promises. A subclass says how to make one (`objects`), and how to spoil an object."""

from __future__ import annotations

import asyncio
import hashlib
import string
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import ConflictError, InvalidInput
from streamforge_utils.ports.object_store import ABSENT, DamagedObject, NoObject, ObjectInfo, ObjectStore

LARGE = 20 * 1024 * 1024 + 7
"""More than two parts of an upload, and no whole number of blocks."""

Spoil = Callable[[str], Awaitable[None]]


def sample(size: int) -> bytes:
    """Bytes that repeat nowhere at the borders of blocks and parts."""
    unit = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(4001))
    return (unit * (size // len(unit) + 1))[:size]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def content(store: ObjectStore, name: str, start: int = 0) -> bytes:
    return b"".join([block async for block in store.get(name, start=start)])


async def names(store: ObjectStore, prefix: str = "") -> list[str]:
    return [one.name async for one in store.list(prefix)]


PART = st.text(string.ascii_letters + string.digits + " -_.!~*'()+,;=@:&$%#?[]{}^`|<>\"éжü中", min_size=1, max_size=12)
NAMES = st.lists(PART.filter(lambda part: not part.startswith(".")), min_size=1, max_size=3).map("/".join)


class ObjectContract:
    """Put, get, head, list, delete."""

    @pytest.fixture
    def objects(self) -> ObjectStore:
        """An empty store."""
        raise NotImplementedError

    @pytest.fixture
    def spoil(self) -> Spoil:
        """Changes the content of an object behind the store's back."""
        raise NotImplementedError

    @pytest.mark.parametrize("size", [0, 1, LARGE])
    @pytest.mark.parametrize("from_file", [False, True])
    async def test_what_is_put_comes_back_with_its_checksum(
        self, objects: ObjectStore, tmp_path: Path, size: int, from_file: bool
    ) -> None:
        data = sample(size)
        (tmp_path / "source").write_bytes(data)
        put = await objects.put("a/b c.bin", tmp_path / "source" if from_file else data)
        assert (put.name, put.size, put.sha256) == ("a/b c.bin", size, digest(data))
        assert await objects.head("a/b c.bin") == put
        assert await content(objects, "a/b c.bin") == data

    @pytest.mark.parametrize("start", [1, 5_000_000, LARGE - 1, LARGE])
    async def test_it_is_read_from_any_byte_on(self, objects: ObjectStore, start: int) -> None:
        data = sample(LARGE)
        await objects.put("large", data)
        assert await content(objects, "large", start) == data[start:]

    async def test_a_start_outside_of_it_is_refused(self, objects: ObjectStore) -> None:
        await objects.put("a", b"12345")
        for start in (-1, 6):
            with pytest.raises(InvalidInput, match=f"has 5 bytes: it cannot be read from byte {start} on"):
                await content(objects, "a", start)

    async def test_a_put_replaces_what_had_the_name(self, objects: ObjectStore) -> None:
        for data in (b"first", b"", b"third and longer"):
            await objects.put("a/b", data)
            assert await content(objects, "a/b") == data
        found = await objects.head("a/b")
        assert found is not None
        assert (found.size, found.sha256) == (16, digest(b"third and longer"))
        assert await names(objects) == ["a/b"]

    async def test_puts_of_one_name_at_once_leave_one_of_them_whole(self, objects: ObjectStore) -> None:
        contents = [sample(300_000 + number) for number in range(8)]
        await asyncio.gather(*(objects.put("same", one) for one in contents))
        found = await content(objects, "same")
        assert found in contents
        info = await objects.head("same")
        assert info is not None
        assert info.sha256 == digest(found)

    async def test_what_is_not_there_is_no_object(self, objects: ObjectStore) -> None:
        await objects.put("a/b", b"x")
        for name in ("b", "a", "a/b/c"):
            assert await objects.head(name) is None
            with pytest.raises(NoObject, match=f"no object {name} in "):
                await content(objects, name)
            await objects.delete([name])
        assert await names(objects) == ["a/b"]

    async def test_lists_are_sorted_by_name_and_begin_with_the_prefix(self, objects: ObjectStore) -> None:
        there = ["a-b/c", "a/b", "a.b", "a/b-c", "ab", "b/a/a", "b/a/b", "é/x", "z"]
        for name in reversed(there):
            await objects.put(name, name.encode())
        assert await names(objects) == sorted(there)
        assert await names(objects, "a") == ["a-b/c", "a.b", "a/b", "a/b-c", "ab"]
        assert await names(objects, "a/") == ["a/b", "a/b-c"]
        assert await names(objects, "a/b") == ["a/b", "a/b-c"]
        assert await names(objects, "b/a") == ["b/a/a", "b/a/b"]
        assert await names(objects, "nothing/of/it") == []
        assert [one.size async for one in objects.list("a/")] == [3, 5]
        for after in ("a", "a/b", "a/b-a", "a/c", "z"):
            found = [one.name async for one in objects.list(after=after)]
            assert found == [name for name in sorted(there) if name > after]
        assert [one.name async for one in objects.list("a", after="a/b")] == ["a/b-c", "ab"]
        assert [one.name async for one in objects.list("b/", after="a")] == ["b/a/a", "b/a/b"]

    async def test_more_than_one_page_is_listed_and_deleted(self, objects: ObjectStore) -> None:
        expected = [f"n/{number:04d}" for number in range(1203)]
        for first in range(0, len(expected), 100):
            await asyncio.gather(*(objects.put(name, b"") for name in expected[first : first + 100]))
        assert await names(objects, "n/") == expected
        await objects.delete(expected[1:])
        assert await names(objects) == expected[:1]

    async def test_deleting_leaves_no_trace_and_the_name_is_free(self, objects: ObjectStore) -> None:
        await objects.put("a/b/c", b"1")
        await objects.delete(["a/b/c", "a/b/never"])
        await objects.delete(["a/b/c"])
        assert await objects.head("a/b/c") is None
        await objects.put("a", b"2")
        assert await content(objects, "a") == b"2"

    @pytest.mark.parametrize(
        "name",
        [
            *("", "/a", "a/", "a//b", "..", "a/../b", "a/.", ".hidden", "a/.b"),
            *("a\x00b", "a\nb", "a\x7f", "a\\b", "\ud800", "x" * 201, "/".join(["x" * 99] * 8)),
        ],
    )
    async def test_names_that_lead_elsewhere_are_refused(self, objects: ObjectStore, name: str) -> None:
        calls: list[Awaitable[object]] = [
            objects.put(name, b"x"),
            content(objects, name),
            objects.head(name),
            objects.delete([name]),
        ]
        for call in calls:
            with pytest.raises(InvalidInput, match=r"object name .* is not possible"):
                await call
        assert await names(objects) == []

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(name=NAMES)
    async def test_any_other_name_is_kept_as_it_is(self, objects: ObjectStore, name: str) -> None:
        await objects.put(name, b"x")
        assert await names(objects) == [name]
        assert await content(objects, name) == b"x"
        await objects.delete([name])
        assert await names(objects) == []

    async def test_a_content_that_was_changed_is_noticed(self, objects: ObjectStore, spoil: Spoil) -> None:
        await objects.put("a/b", sample(100_000))
        await spoil("a/b")
        with pytest.raises(DamagedObject, match=r"object a/b in .* is damaged: its content is not what was put"):
            await content(objects, "a/b")
        await objects.put("a/b", b"again")
        assert await content(objects, "a/b") == b"again"

    async def test_a_source_that_is_no_file_is_refused(self, objects: ObjectStore, tmp_path: Path) -> None:
        for source in (tmp_path / "none", tmp_path):
            with pytest.raises(InvalidInput, match="is no file: there is nothing to store"):
                await objects.put("a", source)
        assert await names(objects) == []


class ConditionalContract:
    """Puts that expect what is there, by many at once."""

    @pytest.fixture
    def objects(self) -> ObjectStore:
        """An empty store."""
        raise NotImplementedError

    async def test_of_those_that_create_it_at_once_one_does_and_it_has_its_bytes(
        self, objects: ObjectStore, tmp_path: Path
    ) -> None:
        for turn in range(20):
            name, source = f"new/{turn}", tmp_path / "source"
            source.write_bytes(sample(300_009))
            contents: list[bytes | Path] = [sample(300_000 + number) for number in range(8)]
            puts = (objects.put(name, one, expected=ABSENT) for one in [*contents, source])
            found = await asyncio.gather(*puts, return_exceptions=True)
            (won,) = (one for one in found if isinstance(one, ObjectInfo))
            assert [type(one) for one in found if one is not won] == [ConflictError] * 8
            there = await content(objects, name)
            assert (won.size, won.sha256) == (len(there), digest(there))
            assert await objects.head(name) == won

    async def test_counted_by_many_that_expect_what_they_read_it_loses_none(self, objects: ObjectStore) -> None:
        told = await objects.put("count", b"0", expected=ABSENT)

        async def count(times: int) -> None:
            while times:
                before = await content(objects, "count")
                with suppress(ConflictError):
                    await objects.put("count", str(int(before) + 1).encode(), expected=digest(before))
                    times -= 1

        await asyncio.gather(*(count(6) for _ in range(5)))
        assert await content(objects, "count") == b"30"
        for expected in (told.sha256, ABSENT):
            with pytest.raises(ConflictError, match=r"object count in .* by another one meanwhile: read it again"):
                await objects.put("count", b"0", expected=expected)
        await objects.delete(["count"])
        with pytest.raises(ConflictError):
            await objects.put("count", b"0", expected=digest(b"30"))
        assert await names(objects) == []
