"""The file of edges: one of an older format is taken over, and names do not outlive their edges."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.store.edge_rows import FORMAT
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.store import Edge


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path)
    yield store
    await store.close()


def _names(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(tmp_path / "edges.db")) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM ends ORDER BY name")]


async def test_edges_of_the_first_format_are_taken_over(tmp_path: Path, store: EmbeddedStore) -> None:
    rows = [("g", "x/b", "x/a", b'{"n":1}'), ("g", "x/a", "x/c", b'{"n":2}'), ("h", "x/a", "x/b", b'{"n":3}')]
    with closing(sqlite3.connect(tmp_path / "edges.db")) as connection:
        connection.execute(FORMAT.migrations[0][0])
        connection.execute("CREATE INDEX edges_by_destination ON edges (collection, destination, source)")
        connection.executemany("INSERT INTO edges VALUES (?, ?, ?, ?)", rows)
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    assert await store.links("g") == [Edge("x/a", "x/c", b'{"n":2}'), Edge("x/b", "x/a", b'{"n":1}')]
    assert await store.links("g", destination="x/a") == [Edge("x/b", "x/a", b'{"n":1}')]
    assert await store.links("h") == [Edge("x/a", "x/b", b'{"n":3}')]
    await store.link("h", [Edge("x/a", "x/b", b'{"n":4}')])
    assert await store.links("h", destination="x/b") == [Edge("x/a", "x/b", b'{"n":4}')]


async def test_edges_of_the_second_format_are_taken_over(tmp_path: Path, store: EmbeddedStore) -> None:
    with closing(sqlite3.connect(tmp_path / "edges.db")) as connection:
        for statement in (*FORMAT.migrations[0], *FORMAT.migrations[1]):
            connection.execute(statement)
        connection.executemany("INSERT INTO ends VALUES (?, 'g', ?)", [(1, "x/c"), (2, "x/b"), (3, "x/a")])
        edges = [(1, 3, b'{"n":1}'), (1, 2, b'{"n": "\xc3\xa4,\\""}'), (3, 2, b"{}")]
        connection.executemany("INSERT INTO edges VALUES (? << 31 | ?, ?)", edges)
        connection.executemany("INSERT INTO arrivals VALUES (? << 31 | ?)", [(end, start) for start, end, _ in edges])
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    expected = [Edge("x/a", "x/b"), Edge("x/c", "x/a", b'{"n":1}'), Edge("x/c", "x/b", b'{"n": "\xc3\xa4,\\""}')]
    assert await store.links("g") == expected
    assert await store.links("g", destination="x/b") == [expected[0], expected[2]]
    await store.unlink("g", ["x/c"])
    assert await store.links("g") == expected[:1]
    assert _names(tmp_path) == ["x/a", "x/b"]


async def test_edges_of_many_batches_of_one_document_are_all_there(store: EmbeddedStore) -> None:
    for n in range(5):
        await store.link("g", [Edge("x/hub", f"x/{n}", b'{"n":%d}' % n), Edge(f"x/{n}", "x/hub")])
    await store.link("g", [Edge("x/hub", "x/3", b'{"n":33}')])
    bodies = [edge.body for edge in await store.links("g", source="x/hub")]
    assert bodies == [b'{"n":0}', b'{"n":1}', b'{"n":2}', b'{"n":33}', b'{"n":4}']
    assert [edge.source for edge in await store.links("g", destination="x/hub")] == [f"x/{n}" for n in range(5)]
    await store.unlink("g", ["x/1", "x/2"])
    assert [edge.source for edge in await store.links("g", destination="x/hub")] == ["x/0", "x/3", "x/4"]


@pytest.mark.parametrize("body", [b'{"n":1},"7":{}', b"{}}", b"{n}", b'{"n":1}, {}'])
async def test_a_body_that_would_break_the_others_is_refused(store: EmbeddedStore, body: bytes) -> None:
    with pytest.raises(PermanentError, match="not a JSON object"):
        await store.link("g", [Edge("x/a", "x/b", b"{}"), Edge("x/a", "x/c", body)])
    assert await store.links("g") == []


async def test_a_name_is_forgotten_with_its_last_edge(tmp_path: Path, store: EmbeddedStore) -> None:
    await store.link("g", [Edge("x/a", "x/b"), Edge("x/a", "x/c"), Edge("x/c", "x/b"), Edge("x/d", "x/d")])
    await store.unlink("g", ["x/a"])
    assert _names(tmp_path) == ["x/b", "x/c", "x/d"]
    await store.unlink("g", ["x/c", "x/d"])
    assert _names(tmp_path) == []
    await store.link("g", [Edge("x/c", "x/a")])
    assert await store.links("g") == [Edge("x/c", "x/a")]


async def test_a_batch_larger_than_a_statement_is_stored_whole(store: EmbeddedStore) -> None:
    edges = [Edge(f"x/{n % 7}", f"x/{100_000 + n}", b'{"n":%d}' % n) for n in range(5_003)]
    await store.link("g", [*edges, Edge("x/0", "x/100000", b"{}")])
    expected = {(one.source, one.destination): one.body for one in edges} | {("x/0", "x/100000"): b"{}"}
    assert {(one.source, one.destination): one.body for one in await store.links("g")} == expected
    assert await store.links("g", destination="x/105002") == [edges[-1]]
