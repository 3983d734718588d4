"""The file of edges: one of an older format is taken over, and names do not outlive their edges."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.store.edge_rows import FORMAT
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
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
