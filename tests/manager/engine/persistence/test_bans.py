"""The document of the exchange's ban: stored once, by the loop, and never made shorter."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from streamforge.manager.engine.lifecycle.ban import Ban, Banned
from streamforge.manager.engine.persistence.bans import KIND, Bans
from streamforge_utils.model.errors import ConflictError, RetryableError
from streamforge_utils.ports.store import State
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.doubles.observer import RecordingObserver
from tests.manager.support import NOW

UNTIL = NOW + 60_000


def made(store: MemoryStore) -> tuple[Bans, RecordingObserver]:
    observer = RecordingObserver()
    return Bans(store, ManualClock(NOW), observer), observer


def heard(until_ms: int) -> Banned:
    return Banned(until_ms=until_ms, said_ms=NOW, reason="banned")


async def loaded(store: MemoryStore) -> Ban:
    bans, _ = made(store)
    await bans.load()
    return bans.ban


async def test_a_ban_counts_at_once_and_after_a_restart_once_it_is_stored() -> None:
    store = MemoryStore()
    bans, observer = made(store)
    bans.hear(heard(NOW - 1))
    await bans.store()
    assert (bans.ban, observer.gauges, store.puts) == (Ban(), {}, []), "it is over"
    bans.hear(heard(UNTIL))
    assert bans.ban == Ban(until_ms=UNTIL, reason="banned")
    assert observer.gauges["exchange_banned_until_seconds"] == UNTIL / 1000
    assert await loaded(store) == Ban()
    await bans.store()
    assert await loaded(store) == Ban(until_ms=UNTIL, reason="banned")


async def test_a_ban_is_stored_once() -> None:
    store = MemoryStore()
    bans, _ = made(store)
    await bans.store()
    for _ in range(3):
        bans.hear(heard(UNTIL))
        await bans.store()
    assert len(store.puts) == 1
    again, _ = made(store)
    await again.load()
    again.hear(heard(UNTIL))
    await again.store()
    assert len(store.puts) == 1


async def test_the_manager_ends_also_where_its_ban_cannot_be_stored() -> None:
    store = MemoryStore()
    bans, _ = made(store)
    bans.hear(heard(UNTIL))
    store.failing = RetryableError("no disk")
    with pytest.raises(RetryableError):
        await bans.store()
    with capture_logs() as logs:
        await bans.store_last()
    assert [(log["event"], log["error"]) for log in logs] == [("what was heard of a ban is not stored", "no disk")]
    store.failing = None
    await bans.store_last()
    assert (await loaded(store)).until_ms == UNTIL


async def test_a_ban_whose_answer_was_lost_is_not_stored_again() -> None:
    store = MemoryStore()
    bans, _ = made(store)
    bans.hear(heard(UNTIL))
    put = store.put

    async def lost(kind: str, id: str, body: bytes, *, expected: str | None) -> State:
        await put(kind, id, body, expected=expected)
        raise RetryableError("the connection broke")

    store.put = lost  # type: ignore[assignment, method-assign]
    with pytest.raises(RetryableError):
        await bans.store()
    store.put = put  # type: ignore[method-assign]
    for _ in range(2):
        await bans.store()
    assert len(store.puts) == 1


@pytest.mark.parametrize("longer", [True, False])
async def test_what_an_earlier_manager_stores_late_does_not_end_the_ban(longer: bool) -> None:
    store = MemoryStore()
    (earlier, _), (bans, _) = made(store), made(store)
    earlier.hear(heard(UNTIL))
    bans.hear(heard(UNTIL + (1 if longer else -1)))
    await bans.store()
    await earlier.store()
    assert (await loaded(store)).until_ms == max(UNTIL, bans.ban.until_ms)
    put = store.put

    async def late(kind: str, id: str, body: bytes, *, expected: str | None) -> object:
        store.put = put  # type: ignore[method-assign]
        bans.hear(heard(UNTIL + 20))
        await bans.store()
        return await put(kind, id, body, expected=expected)

    earlier.hear(heard(UNTIL + 10))
    store.put = late  # type: ignore[assignment, method-assign]
    with pytest.raises(ConflictError):
        await earlier.store()
    assert (await loaded(store)).until_ms == UNTIL + 20
    await earlier.store()
    assert (earlier.ban.until_ms, (await loaded(store)).until_ms) == (UNTIL + 20, UNTIL + 20)


async def test_a_damaged_document_counts_as_no_ban_and_is_replaced_by_the_next() -> None:
    store = MemoryStore()
    bans, _ = made(store)
    bans.hear(heard(UNTIL))
    await bans.store()
    store.damage(KIND, KIND, b"{")
    again, _ = made(store)
    with capture_logs() as logs:
        await again.load()
    assert (again.ban, [log["log_level"] for log in logs]) == (Ban(), ["error"])
    again.hear(heard(UNTIL + 1))
    await again.store()
    assert (await loaded(store)).until_ms == UNTIL + 1
