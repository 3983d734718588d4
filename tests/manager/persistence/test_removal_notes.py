"""Who removed what is noted: the latest of each, bounded by number and age."""

from __future__ import annotations

import pytest

from streamforge.manager.actor import acting
from streamforge.manager.persistence import removal_notes
from streamforge.manager.persistence.removal_notes import KEPT_MS, KIND, RemovalNotes
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore

NOW_MS = 1_722_600_000_000  # 2024-08-02T12:00Z


async def test_the_latest_removal_of_a_name_is_told_for_so_long() -> None:
    clock = ManualClock(NOW_MS)
    notes = RemovalNotes(MemoryStore(), clock)
    for name in ("alice", "bob"):
        with acting(name):
            await notes.add("schedule", "daily")
        clock.advance(60)
    assert await notes.said("schedule", "daily") == "schedule daily was removed by bob at 2024-08-02T12:01Z"
    assert await notes.said("batch", "daily") is None
    clock.advance(KEPT_MS / 1000 - 60)
    assert await notes.said("schedule", "daily") is not None
    clock.advance(0.001)
    assert await notes.said("schedule", "daily") is None


async def test_the_newest_notes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal_notes, "MOST_KEPT", 3)
    monkeypatch.setattr(removal_notes, "TIDIED_EVERY", 2)
    clock, store = ManualClock(NOW_MS), MemoryStore()
    notes = RemovalNotes(store, clock)
    for name in ("a", "b", "c", "d", "a", "e", "f"):
        await notes.add("workflow", name)
        clock.advance(1)
    assert [one.id for one in await store.find(KIND)] == ["workflow:f", "workflow:e", "workflow:a"]
    clock.advance(KEPT_MS / 1000)
    await RemovalNotes(store, clock).add("workflow", "g")
    assert [one.id for one in await store.find(KIND)] == ["workflow:g"]
