from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from streamforge.manager.engine.persistence.event_history import COLLECTION, LOG, EventHistory
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.store import Document
from tests.doubles.memorystore import MemoryStore
from tests.limits import LIMIT_S

A, B = "wf-a-20240801-aaaaaa", "wf-a-20240801-aaaaab"


async def ids(history: EventHistory, queue_id: str, after: int = -1, limit: int = 1000) -> list[int]:
    return [event.id for event in await history.read(queue_id, after=after, limit=limit)]


async def test_events_are_kept_once_and_in_order_by_workflow() -> None:
    history = EventHistory(MemoryStore())
    await history.append([(A, 9, b'{"n": 9}'), (B, 10, b"{}"), (A, 11, b"{}")])
    await history.append([(A, 9, b'{"n": 9}'), (A, 100, b"{}")])
    assert await ids(history, A) == [9, 11, 100]
    assert await ids(history, A, after=9) == [11, 100]
    assert await ids(history, A, limit=1) == [9]
    assert await ids(history, B) == [10]
    assert (await history.read(A, after=-1, limit=1))[0].body == b'{"n": 9}'
    await history.remove(A)
    assert (await ids(history, A), await ids(history, B)) == ([], [10])


async def test_no_event_replaces_one_of_another_log() -> None:
    store = MemoryStore()
    first = [(A, n, b'{"log":1,"n":%d}' % n) for n in (0, 3, 7)]
    await EventHistory(store).append(first)
    # Another folder's bus, or a topic made again: offsets begin again, and some are taken, others lie in between.
    second = [(A, n, b'{"log":2,"n":%d}' % n) for n in (1, 3)]
    history = EventHistory(store)
    await history.append(second)
    await history.append([(A, 8, b'{"log":2,"n":8}')])
    # Back on the first one, whose latest was not committed; then one that goes back while it is heard.
    history = EventHistory(store)
    await history.append([(A, 9, b'{"log":1,"n":9}'), (A, 0, b'{"log":3,"n":0}'), (A, 0, b'{"log":3,"n":0}')])
    found = await history.read(A, after=-1, limit=100)
    assert [event.body for event in found] == [
        *(body for _, _, body in first),
        *(body for _, _, body in second),
        b'{"log":2,"n":8}',
        b'{"log":1,"n":9}',
        b'{"log":3,"n":0}',
    ]
    assert [event.id for event in found] == [0, 3, 7, LOG + 1, LOG + 3, LOG + 8, LOG + 9, 2 * LOG]
    assert await ids(history, A, after=7, limit=1) == [LOG + 1]


async def test_what_is_heard_again_after_a_restart_is_kept_once_however_the_store_writes_it() -> None:
    store = MemoryStore()
    await EventHistory(store).append([(A, 4, b'{"a":1,"b":42000.0}'), (A, 5, b'{"n":5}')])
    body = store.documents[COLLECTION][f"{A}:{4:016d}"]
    store.documents[COLLECTION][f"{A}:{4:016d}"] = Document(body.key, body.version, b'{"b":42000,"a":1}')
    del store.documents[COLLECTION][f"{A}:{5:016d}"]  # the store died in between
    store.documents[COLLECTION][f"{A}:{6:016d}"] = Document(f"{A}:{6:016d}", 6, b'{"n":6}')
    history = EventHistory(store)
    await history.append([(A, 4, b'{"a":1,"b":42000.0}'), (A, 5, b'{"n":5}'), (A, 6, b'{"n":6}'), (A, 7, b"{}")])
    assert await ids(history, A) == [4, 5, 6, 7]


async def test_an_event_that_the_store_refuses_holds_up_no_other() -> None:
    store = MemoryStore()
    store.refused = {f"{A}:{9:016d}"}
    history = EventHistory(store)
    await history.append([(A, 9, b"{}"), (A, 10, b"{}")])
    assert await ids(history, A) == [10]


async def test_a_store_that_does_not_answer_is_said() -> None:
    store = MemoryStore()
    store.failing = RetryableError("no answer")
    with pytest.raises(RetryableError):
        await EventHistory(store).append([(A, 1, b"{}")])
    await EventHistory(store).append([])


async def test_following_goes_on_with_what_comes() -> None:
    history = EventHistory(MemoryStore())
    await history.append([(A, n, b"{}") for n in range(2500)])
    seen: list[int | None] = []
    idle = asyncio.Event()

    async def follow() -> None:
        async for event in history.follow(A, after=3, patience_s=0.05):
            seen.append(None if event is None else event.id)
            if event is None:
                idle.set()
            elif event.id == 2600:
                return

    following = asyncio.create_task(follow())
    await asyncio.wait_for(idle.wait(), LIMIT_S)
    assert seen[:2497] == [*range(4, 2500), None]
    await history.append([(B, 2550, b"{}"), (A, 2600, b"{}")])
    await asyncio.wait_for(following, LIMIT_S)
    assert seen[-1] == 2600
    await asyncio.sleep(0)
    assert history._news == {}, "who has left is forgotten"


async def test_heartbeats_become_sparser_and_what_was_said_once_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    deleted: list[int] = []

    async def delete_keys(collection: str, keys: Sequence[str]) -> None:
        deleted.append(len(keys))
        await MemoryStore.delete_keys(store, collection, keys)

    monkeypatch.setattr(store, "delete_keys", delete_keys)
    history = EventHistory(store, most_heartbeats=20, recent=5)
    beat, word = b'{"event":"loading"}', b'{"event":"started"}'
    for n in range(1000):
        await history.append([(A, n, word if n % 100 == 0 else beat), (B, n, word)])
        if n == 500:
            history = EventHistory(store, most_heartbeats=20, recent=5)
    found = await history.read(A, after=-1, limit=5000)
    assert [event.id for event in found if event.body == word] == list(range(0, 1000, 100))
    beats = [event.id for event in found if event.body == beat]
    assert beats[0] == 1
    assert beats[-5:] == [995, 996, 997, 998, 999]
    assert len(beats) <= 20
    # Together: a request for each would keep a manager of many workflows from its work.
    assert sum(deleted) == 990 - len(beats)
    assert min(deleted) > 5
    assert len(await ids(history, B)) == 1000
