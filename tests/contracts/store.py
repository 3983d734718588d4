"""What every store promises. A subclass says only how to make one: `make_store` here, `factory` in another process.

Documents and collections are here, states and edges in `store_states`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Answer, Bodies, Document, Outcome, Store
from tests.contracts.remote_process import ended, line, remote, versioned

MakeStore = Callable[[], Store]
Factory = tuple[str, str]
"""How another process makes the store: `module:function`, and the function's only argument."""

STORED, UNCHANGED, STALE, REFUSED = Outcome.STORED, Outcome.UNCHANGED, Outcome.STALE, Outcome.REFUSED

PROPERTY = settings(
    max_examples=30,
    deadline=None,
    # One suite for several stores: each class that inherits it is an executor of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


def outcomes(answers: Sequence[Answer]) -> list[Outcome]:
    return [answer.outcome for answer in answers]


Content = tuple[int, Any]
"""Version, and what the body says; how a store writes it (spaces, order, 1.50 or 1.5) is its own affair."""


def content(document: Document) -> Content:
    """What a document says."""
    return document.version, json.loads(document.body)


async def contents(store: Store, collection: str) -> dict[str, Content]:
    """Everything in a collection, by key."""
    return {d.key: content(d) for d in await store.read(collection, limit=100_000)}


class StoreFixtures:
    """Base of the parts of the contract."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        raise NotImplementedError("say how to make the store")

    @pytest.fixture
    def factory(self) -> Factory:
        raise NotImplementedError("say how another process makes the same store")

    @pytest.fixture
    async def store(self, make_store: MakeStore) -> AsyncIterator[Store]:
        store = make_store()
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, make_store: MakeStore) -> AsyncIterator[Store]:
        """The same data, as somebody else sees it."""
        store = make_store()
        yield store
        await store.close()

    @pytest.fixture
    async def collection(self, store: Store) -> AsyncIterator[str]:
        name = f"contract_{secrets.token_hex(6)}"
        yield name
        await store.drop(name)


class DocumentContract(StoreFixtures):
    """Documents: what is stored, what is read."""

    async def test_new_documents_are_stored_as_they_are(self, store: Store, other: Store, collection: str) -> None:
        documents = [
            Document("b", 2, b'{"x": 1.50}'),
            Document("a", 1, b'{"text": "\xc3\xa9"}'),
            Document("c", 0, b"{}"),
        ]
        assert outcomes(await store.upsert(collection, documents)) == [STORED] * 3
        for handle in (store, other):
            found = await handle.read(collection)
            assert [d.key for d in found] == ["a", "b", "c"]
            assert [content(d) for d in found] == [content(d) for d in sorted(documents, key=lambda d: d.key)]

    async def test_documents_in_columns_are_stored_as_they_are(self, store: Store, collection: str) -> None:
        documents = [versioned(f"k{number:05d}", number) for number in range(5001)]
        columns = DocumentColumns.of(documents)
        assert outcomes(await store.upsert(collection, columns)) == [STORED] * 5001
        found = await store.read(collection, limit=6000)
        assert [(d.key, content(d)) for d in found] == [(d.key, content(d)) for d in documents]
        assert outcomes(await store.upsert(collection, columns[:3])) == [UNCHANGED] * 3

    async def test_storing_nothing_makes_nothing(self, store: Store, collection: str) -> None:
        assert list(await store.upsert(collection, [])) == []
        assert collection not in await store.names()

    async def test_a_key_that_occurs_twice_is_taken_in_order(self, store: Store, collection: str) -> None:
        answers = await store.upsert(
            collection,
            [
                Document("k", 2, b'{"v": 2}'),
                Document("other", 1, b"{}"),
                Document("k", 1, b'{"v": 1}'),
                Document("k", 3, b'{"v": 2}'),
                Document("k", 4, b'{"v": 4}'),
            ],
        )
        assert outcomes(answers) == [STORED, STORED, STALE, UNCHANGED, STORED]
        assert await contents(store, collection) == {"k": (4, {"v": 4}), "other": (1, {})}

    async def test_what_cannot_be_stored_is_refused_by_name_and_keeps_nobody_out(
        self, store: Store, collection: str
    ) -> None:
        keys = ["", "x" * 255, "a b", "a/b", "ключ", "a\n", "a\x00", "a\ud800", 'a"b', "a#b"]
        bodies = [b"", b"[]", b"1", b'"text"', b"null", b"{", b"}", b"not json"]
        bodies.append(b'{"x": "' + b"x" * (16 * 1024 * 1024) + b'"}')
        wrong = [*(Document(key, 1, b"{}") for key in keys), *(Document("bad", 1, body) for body in bodies)]
        answers = await store.upsert(collection, [versioned("a", 1), *wrong, versioned("b", 1)])
        assert outcomes(answers) == [STORED, *[REFUSED] * len(wrong), STORED]
        assert all("key" in answer.reason for answer in answers[1 : 1 + len(keys)])
        assert all("bad" in answer.reason for answer in answers[1 + len(keys) : -1])
        assert (answers[0].reason, answers[-1].reason) == ("", "")
        assert list(await store.keys(collection)) == ["a", "b"]

    async def test_every_legal_character_may_stand_in_a_key_and_keys_are_read_in_code_point_order(
        self, store: Store, collection: str
    ) -> None:
        keys = ["x" * 254, "-", "AZaz09_-.@()+,=;$!*'%:", "%D0%B0_1m_1672531200000"]
        keys += ["a", "B", "A", "b", "_", "a1", "a-", "Z9", "0", "10", "2", "a:", "%"]
        assert outcomes(await store.upsert(collection, [versioned(key, 1) for key in keys])) == [STORED] * len(keys)
        assert list(await store.keys(collection)) == sorted(keys)
        assert [d.key for d in await store.read(collection)] == sorted(keys)

    async def test_of_many_keys_those_that_are_there_are_known(self, store: Store, collection: str) -> None:
        assert await store.present(collection, ["a", "b"]) == frozenset()
        await store.upsert(collection, [versioned(f"k{number}", 1) for number in range(0, 1300, 2)])
        asked = [f"k{number}" for number in range(1300)]
        assert sorted(await store.present(collection, asked)) == sorted(asked[::2])
        assert await store.present(collection, []) == frozenset()
        assert await store.present(collection, ["k2", "k2", "ж"]) == {"k2"}

    async def test_of_many_keys_the_documents_that_are_there_are_read(self, store: Store, collection: str) -> None:
        assert list(await store.fetch(collection, ["a", "b"])) == []
        await store.upsert(collection, [versioned(f"k{number}", number + 1) for number in range(0, 1300, 2)])
        asked = [f"k{number}" for number in range(1300)]
        assert await store.fetch(collection, asked) == await store.read(collection, limit=1300)
        assert list(await store.fetch(collection, [])) == []
        assert [one.key for one in await store.fetch(collection, ["k4", "k2", "k2", "ж"])] == ["k2", "k4"]

    async def test_a_range_is_half_open(self, store: Store, collection: str) -> None:
        await store.upsert(collection, [versioned(key, 1) for key in "abcdef"])
        assert list(await store.keys(collection, first="b", last="e")) == ["b", "c", "d"]
        assert [d.key for d in await store.read(collection, first="b", last="e")] == ["b", "c", "d"]
        assert await store.count(collection, first="b", last="e") == 3
        assert await store.count(collection, first="bb") == 4
        assert await store.count(collection, last="b") == 1
        assert await store.count(collection) == 6
        assert list(await store.keys(collection, first="e", last="b")) == []
        assert list(await store.keys(collection, first="c", last="c")) == []

    async def test_bodies_are_those_of_what_is_read_in_one_array(self, store: Store, collection: str) -> None:
        assert await store.bodies(collection) == Bodies(b"[]", 0, "")
        documents = [Document(f"k{number:03d}", 1, b'{"n":%d,"text":"\xd0\xb6,]"}' % number) for number in range(40)]
        await store.upsert(collection, documents[::-1])
        for first, last, limit in (("", None, 1000), ("k003", "k030", 1000), ("k003", None, 7), ("k5", None, 9)):
            read = await store.read(collection, first=first, last=last, limit=limit)
            found = await store.bodies(collection, first=first, last=last, limit=limit)
            assert json.loads(found.array) == [json.loads(one.body) for one in read]
            assert (found.count, found.last) == (len(read), read[-1].key if read else "")
        assert await store.bodies(collection, limit=0) == Bodies(b"[]", 0, "")

    async def test_a_bound_may_be_any_text(self, store: Store, collection: str) -> None:
        await store.upsert(collection, [versioned(key, 1) for key in ("a", "a1", "z")])
        assert list(await store.keys(collection, first="a", last="a\U0010ffff")) == ["a", "a1"]
        assert list(await store.keys(collection, first="a\x00")) == ["a1", "z"]
        assert list(await store.keys(collection, first="я")) == []
        assert list(await store.keys(collection, last="\ud800")) == ["a", "a1", "z"]

    async def test_pages_of_any_size_give_the_whole(self, store: Store, collection: str) -> None:
        keys = [f"k{number:04d}" for number in range(250)]
        await store.upsert(collection, [versioned(key, 1) for key in keys])
        for size in (1, 7, 249, 250, 251):
            pages: list[str] = []
            first = ""
            for _ in range(300):
                page = list(await store.keys(collection, first=first, limit=size))
                assert len(page) <= size
                pages += page
                if len(page) < size:
                    break
                first = page[-1] + "\x00"
            assert pages == keys
        assert list(await store.read(collection, limit=0)) == []

    async def test_a_collection_that_does_not_exist_is_empty(self, store: Store, collection: str) -> None:
        assert list(await store.read(collection)) == []
        assert list(await store.keys(collection)) == []
        assert await store.count(collection) == 0
        assert await store.delete(collection, first="", last="z") == 0
        await store.drop(collection)
        assert collection not in await store.names()

    async def test_an_illegal_collection_name_is_named(self, store: Store) -> None:
        for name in ("", "1abc", "a/b", "../up", "a b", "x" * 257, "коллекция", "a.b", "a\n"):
            with pytest.raises(PermanentError, match="collection"):
                await store.upsert(name, [versioned("k", 1)])

    @PROPERTY
    @given(
        writes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=20),
        cut=st.integers(1, 7),
    )
    async def test_the_newest_content_wins_in_any_order_and_any_cut(
        self, store: Store, writes: list[tuple[str, int]], cut: int
    ) -> None:
        collection = f"contract_{secrets.token_hex(6)}"
        answers: list[Answer] = []
        for start in range(0, len(writes), cut):
            answers += await store.upsert(collection, [versioned(*write) for write in writes[start : start + cut]])
        newest: dict[str, int] = {}
        for (key, version), answer in zip(writes, answers, strict=True):
            before = newest.get(key, 0)
            assert answer.outcome == (STORED if version > before else UNCHANGED if version == before else STALE)
            newest[key] = max(version, before)
        expected = {key: content(versioned(key, version)) for key, version in newest.items()}
        assert await contents(store, collection) == expected
        await store.drop(collection)

    @PROPERTY
    @given(writes=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([b"{}", b'{"a":1}'])), min_size=1, max_size=12))
    async def test_versions_never_fall_and_content_is_that_of_the_newest(
        self, store: Store, writes: list[tuple[int, bytes]]
    ) -> None:
        collection = f"contract_{secrets.token_hex(6)}"
        version, body = -1, b""
        for new_version, new_body in writes:
            if new_version == version and new_body != body:
                continue  # which of two contents of one moment is kept, a store may choose
            (answer,) = await store.upsert(collection, [Document("k", new_version, new_body)])
            if new_body == body:
                assert answer.outcome == UNCHANGED
                version = max(version, new_version)
            elif new_version > version:
                assert answer.outcome == STORED
                version, body = new_version, new_body
            else:
                assert answer.outcome == STALE
            assert await contents(store, collection) == {"k": (version, json.loads(body))}
        await store.drop(collection)

    async def test_two_processes_at_once_end_with_the_newest(
        self, store: Store, factory: Factory, collection: str
    ) -> None:
        async with (
            remote(factory, "versions", collection, "5", "60", "0") as even,
            remote(factory, "versions", collection, "5", "60", "1") as odd,
        ):
            assert [await line(even), await line(odd)] == ["ready", "ready"]
            assert [await ended(even), await ended(odd)] == [0, 0]
        assert await contents(store, collection) == {f"k{key}": content(versioned("", 60)) for key in range(5)}

    async def test_what_was_answered_survives_a_kill(self, store: Store, factory: Factory, collection: str) -> None:
        async with remote(factory, "fill", collection, "10000", "100") as process:
            stored = 0
            while stored < 2000:
                stored = int(await line(process))
            process.kill()
            await process.wait()
            while text := await line(process):
                stored = int(text)
        found = list(await store.keys(collection))
        assert found[:stored] == [f"k{number:09d}" for number in range(stored)]

    async def test_many_writers_of_one_process_do_not_disturb_each_other(self, store: Store, collection: str) -> None:
        await asyncio.gather(
            *(
                store.upsert(collection, [versioned(f"{task}-{number}", 1) for number in range(50)])
                for task in range(10)
            )
        )
        assert await store.count(collection) == 500


class CollectionContract(StoreFixtures):
    """Collections: their names, their removal."""

    async def test_names_are_those_of_collections_that_exist_and_each_is_apart(
        self, store: Store, other: Store
    ) -> None:
        code = secrets.token_hex(6)
        names = [f"b_{code}", f"a_{code}", f"A_{code}", f"a-{code}", "x" * 243 + "_" + code]
        names += [f"{'x' * 200}a{code}", f"{'x' * 200}b{code}", f"{'x' * 200}B{code}"]
        for number, name in enumerate(names):
            await store.upsert(name, [versioned(f"k{number}", 1)])
        for handle in (store, other):
            assert [name for name in await handle.names() if name.endswith(code)] == sorted(names)
        for number, name in enumerate(names):
            assert list(await other.keys(name)) == [f"k{number}"]
            await store.drop(name)
        assert [name for name in await other.names() if name.endswith(code)] == []

    async def test_a_dropped_collection_is_empty_for_everybody_and_can_be_filled_again(
        self, store: Store, other: Store, collection: str
    ) -> None:
        for version in (9, 5, 1):
            assert outcomes(await other.upsert(collection, [versioned("k", version)])) == [STORED]
            assert outcomes(await store.upsert(collection, [versioned("k2", version)])) == [STORED]
            assert await contents(store, collection) == await contents(other, collection)
            assert await store.count(collection) == 2
            await store.drop(collection)
            await store.drop(collection)
            for handle in (store, other):
                assert list(await handle.read(collection)) == []
                assert await handle.count(collection) == 0
                assert collection not in await handle.names()

    async def test_nothing_is_lost_after_a_drop_by_another_process(
        self, store: Store, factory: Factory, collection: str
    ) -> None:
        async with remote(factory, "drops", collection, "30") as process:
            assert await line(process) == "ready"
            rounds = 0
            while process.returncode is None and rounds < 5000:
                await store.upsert(collection, [versioned(f"ours{rounds}", 1)])
                rounds += 1
            assert await ended(process) == 0
        await store.upsert(collection, [versioned("last", 1)])
        assert "last" in await store.keys(collection)
        await store.drop(collection)
        assert await store.count(collection) == 0

    async def test_a_flush_changes_nothing_that_can_be_read(self, store: Store, other: Store, collection: str) -> None:
        """That it reaches the disk no test of the port can see: an adapter's own tests do."""
        await store.flush(collection)
        assert collection not in await store.names(), "flushing makes no collection"
        await other.upsert(collection, [versioned("a", 1), versioned("b", 2)])
        await store.flush(collection)
        await store.flush(collection)
        assert list(await store.keys(collection)) == ["a", "b"]
        await other.upsert(collection, [versioned("c", 3)])
        await other.close()
        await store.flush(collection)
        assert list(await store.keys(collection)) == ["a", "b", "c"]

    async def test_delete_removes_a_half_open_range(self, store: Store, other: Store, collection: str) -> None:
        await store.upsert(collection, [versioned(key, 5) for key in "abcdef"])
        assert await store.delete(collection, first="b", last="e") == 3
        assert list(await other.keys(collection)) == ["a", "e", "f"]
        assert await store.delete(collection, first="b", last="e") == 0
        assert await store.delete(collection, first="f", last="a") == 0
        assert outcomes(await store.upsert(collection, [versioned("c", 1)])) == [STORED]

    async def test_keys_are_deleted_together(self, store: Store, other: Store, collection: str) -> None:
        await store.delete_keys(collection, ["a"])
        assert collection not in await store.names(), "deleting makes no collection"
        names = [f"{number:04d}" for number in range(1201)]
        await store.upsert(collection, [versioned(key, 5) for key in names])
        await store.delete_keys(collection, [])
        await store.delete_keys(collection, [*names[1::2], names[1], "never there"])
        assert list(await other.keys(collection)) == names[::2]
        assert outcomes(await store.upsert(collection, [versioned(names[1], 1)])) == [STORED]
