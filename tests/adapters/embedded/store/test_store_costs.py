"""What finding states costs where there are many: counted in steps of SQLite, which no busy machine changes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore

QUESTIONS: list[dict[str, list[str]]] = [
    {},
    {"status": ["running", "error"]},
    {"status": ["running", "finished", "error"], "type": ["x"]},
    {"symbol": [f"S{n}" for n in range(0, 50, 2)], "status": ["error"], "type": ["x", "y"]},
    {"symbol": ["S1", "S2"], "status": ["none"]},
]
STEPS = 100
"""Between two counts."""


async def filled(directory: Path, count: int) -> EmbeddedStore:
    """A store of `count` states."""
    store = EmbeddedStore(directory)
    await store.put("workflow", "wf", b"{}", expected=None)
    with closing(sqlite3.connect(directory / "states.db")) as connection, connection:
        for serial in range(count):
            labels = {"status": ("running", "finished", "error")[serial % 3], "symbol": f"S{serial % 50}", "type": "x"}
            id = f"wf-{serial:05d}"
            connection.execute(
                "INSERT INTO states (kind, id, revision, created_ms, labels, body) "
                "VALUES ('workflow', ?, ?, ?, '{}', ?)",
                (id, serial + 10, serial, b"{}" * 500),
            )
            connection.executemany(
                "INSERT INTO labels (kind, name, value, created_ms, id) VALUES ('workflow', ?, ?, ?, ?)",
                [(*label, serial, id) for label in labels.items()],
            )
    await store.close()
    return EmbeddedStore(directory)


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
async def test_finding_grows_with_the_states_asked_about_and_not_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += STEPS
        return 0

    connect = sqlite.connect

    def counted(path: Path, *options: object, **more: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(path, *options, **more)  # type: ignore[arg-type] # of any kind
        connection.set_progress_handler(count, STEPS)
        return connection

    monkeypatch.setattr(sqlite, "connect", counted)
    costs = {}
    for states in (1000, 10_000):
        store = await filled(tmp_path / str(states), states)
        for after in (None, "wf-00500"):
            await store.find("workflow", where=QUESTIONS[number], after=after)  # opens the file
            steps = 0
            await store.find("workflow", where=QUESTIONS[number], after=after)
            costs[states, after] = steps
        await store.close()
    for after in (None, "wf-00500"):
        assert costs[10_000, after] < 11 * costs[1000, after] + 1000
        if not QUESTIONS[number]:
            assert costs[10_000, after] == costs[1000, after]
