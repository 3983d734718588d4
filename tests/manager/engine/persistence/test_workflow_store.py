from __future__ import annotations

import asyncio

import pytest

from streamforge.manager.engine.document import FORMAT, Status, Workflow
from streamforge.manager.engine.persistence.workflow_store import KIND, Unreadable, WorkflowStore
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError
from streamforge_utils.ports.store import State
from tests.doubles.memorystore import MemoryStore
from tests.manager.support import NOW, accepted, decide_running, planned, replace

ENDED = {"status": Status.FINISHED, "ended_ms": NOW}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def workflows(store: MemoryStore) -> WorkflowStore:
    return WorkflowStore(store)


async def test_what_is_stored_is_read_back_as_it_was_who_waits_longest_first(
    store: MemoryStore, workflows: WorkflowStore
) -> None:
    made = [replace(decide_running(), queue_id=f"wf-{number}", created_ms=NOW + number) for number in (3, 1, 2)]
    for workflow in made:
        stored = await workflows.create(workflow)
        with pytest.raises(ConflictError):
            await workflows.create(workflow)
        writes = len(store.puts)
        assert await workflows.change(workflow.queue_id, lambda w: w) == stored
        assert len(store.puts) == writes, "nothing new is not written"
    again, asked = WorkflowStore(store), WorkflowStore(store)
    await again.load()
    assert [stored.workflow for stored in again.live.values()] == [made[1], made[2], made[0]]
    found = await asked.get("wf-3")
    assert found is not None
    assert (found.workflow, list(asked.live)) == (made[0], ["wf-3"]), "who asks for a live one brings it in"
    assert await workflows.get("wf-nobody-20240801-zzzzzz") is None


async def test_only_what_goes_on_is_kept_in_memory(store: MemoryStore, workflows: WorkflowStore) -> None:
    stored = await workflows.create(accepted())
    assert list(workflows.live) == [stored.workflow.queue_id]
    await workflows.replace(stored, replace(stored.workflow, **ENDED))
    assert not workflows.live
    await workflows.change(stored.workflow.queue_id, lambda w: replace(w, status=Status.PENDING, ended_ms=None))
    assert list(workflows.live) == [stored.workflow.queue_id]
    again = WorkflowStore(store)
    await again.load()
    assert list(again.live) == [stored.workflow.queue_id]


async def test_a_change_is_made_to_the_latest_document(workflows: WorkflowStore) -> None:
    stored = await workflows.create(accepted())
    await workflows.replace(stored, replace(stored.workflow, waiting_for="a"))
    with pytest.raises(ConflictError):
        await workflows.replace(stored, replace(stored.workflow, waiting_for="b"))
    latest = workflows.live[stored.workflow.queue_id].workflow
    assert latest.waiting_for == "a", "after a conflict the latest one is in memory"


async def test_many_changes_at_once_are_all_made(workflows: WorkflowStore) -> None:
    queue_id = (await workflows.create(accepted())).workflow.queue_id

    async def count(_: int) -> None:
        await workflows.change(queue_id, lambda w: replace(w, asking_failures=w.asking_failures + 1))

    await asyncio.gather(*(count(n) for n in range(20)))
    found = await workflows.get(queue_id)
    assert found is not None
    assert found.workflow.asking_failures == 20
    stored = await WorkflowStore(workflows._states).get(queue_id)
    assert stored is not None
    assert stored.workflow == found.workflow


async def test_a_conflict_does_not_bring_back_what_was_written_over(
    store: MemoryStore, workflows: WorkflowStore
) -> None:
    """What is read after a conflict may be older, when the answer comes, than what was written meanwhile."""
    stored = await workflows.create(accepted())
    queue_id = stored.workflow.queue_id
    await workflows.change(queue_id, lambda w: replace(w, waiting_for="a"))
    read = store.get

    async def slow(kind: str, id: str) -> State | None:
        found = await read(kind, id)
        store.get = read  # type: ignore[method-assign]
        await workflows.change(queue_id, lambda w: replace(w, **ENDED))
        return found

    store.get = slow  # type: ignore[method-assign]
    with pytest.raises(ConflictError):
        await workflows.replace(stored, replace(stored.workflow, waiting_for="b"))
    assert queue_id not in workflows.live


async def test_progress_is_noted_in_memory_and_stored_with_the_next_change(
    store: MemoryStore, workflows: WorkflowStore
) -> None:
    stored = await workflows.create(accepted())
    queue_id, writes = stored.workflow.queue_id, len(store.puts)
    workflows.note(stored, replace(stored.workflow, waiting_for="noted"))
    assert len(store.puts) == writes
    changed = await workflows.change(queue_id, lambda w: replace(w, asking_failures=1))
    assert changed is not None
    assert (changed.workflow.waiting_for, changed.workflow.asking_failures) == ("noted", 1)
    workflows.note(changed, replace(changed.workflow, waiting_for="again"))
    await workflows.change(queue_id, lambda w: w)
    found = await WorkflowStore(store).get(queue_id)
    assert found is not None
    assert found.workflow.waiting_for == "again"


async def test_a_write_whose_answer_was_lost_is_found_again(store: MemoryStore, workflows: WorkflowStore) -> None:
    store.lost_answers, store.failing_after = 1, RetryableError("no answer")
    with pytest.raises(RetryableError):
        await workflows.create(accepted())
    assert not workflows.live
    await workflows.adopt()
    assert list(workflows.live) == [accepted().queue_id]
    store.lost_answers = 1
    with pytest.raises(RetryableError):
        await workflows.change(accepted().queue_id, lambda w: replace(w, waiting_for="a"))
    found = await workflows.change(accepted().queue_id, lambda w: replace(w, asking_failures=1))
    assert found is not None
    assert (found.workflow.waiting_for, found.workflow.asking_failures) == ("a", 1)


async def test_pages_by_label(workflows: WorkflowStore) -> None:
    for number in range(5):
        workflow = accepted(f"00000{number}", created_ms=NOW + number)
        await workflows.create(replace(workflow, **ENDED) if number % 2 else workflow)
    codes = [w.queue_id[-1] for w in await workflows.find(limit=3)]
    assert codes == ["4", "3", "2"]
    rest = await workflows.find(after=accepted("000002").queue_id, limit=3)
    assert [w.queue_id[-1] for w in rest] == ["1", "0"]
    assert len(await workflows.find(where={"status": ["finished"]})) == 2
    assert len(await workflows.find(where={"status": ["finished"], "topics": ["data"]})) == 2
    assert await workflows.find(where={"symbol": ["ETHUSDT"]}) == []
    assert len(await workflows.find(where={"topics": ["live"]})) == 3


def removed(workflow: Workflow, **fields: bool) -> Workflow:
    return replace(workflow, **ENDED, **fields)


async def test_labels_follow_what_retention_has_removed(store: MemoryStore, workflows: WorkflowStore) -> None:
    queue_id = (await workflows.create(accepted())).workflow.queue_id
    for fields, label in (
        ({}, "data"),
        ({"topic_removed": True}, "dlq"),
        ({"topic_removed": True, "dlq_removed": True}, "none"),
    ):
        await workflows.change(queue_id, lambda w, f=fields: removed(w, **f))  # type: ignore[misc]
        assert store.states[KIND, queue_id].labels["topics"] == label


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"format": 1}', b'{"format": "x"}', b"\xff"])
async def test_a_damaged_document_is_set_aside_and_reported(
    store: MemoryStore, workflows: WorkflowStore, body: bytes
) -> None:
    for number in range(3):
        await workflows.create(accepted(f"00000{number}", created_ms=NOW + number))
    bad = accepted("000001").queue_id
    store.damage(KIND, bad, body)
    again = WorkflowStore(store)
    await again.load()
    assert sorted(queue_id[-1] for queue_id in again.live) == ["0", "2"]
    assert bad in again.unreadable[bad]
    assert [w.queue_id[-1] for w in await again.find(limit=2)] == ["2", "0"], "a page is full all the same"
    with pytest.raises(Unreadable, match=bad):
        await again.get(bad)
    await again.adopt()


async def test_a_damaged_document_keeps_nobody_from_being_adopted(store: MemoryStore, workflows: WorkflowStore) -> None:
    for number in range(3):
        await WorkflowStore(store).create(accepted(f"00000{number}", created_ms=NOW + number))
    bad = accepted("000001").queue_id
    store.damage(KIND, bad, b"{")
    await workflows.adopt()
    assert sorted(queue_id[-1] for queue_id in workflows.live) == ["0", "2"]
    assert list(workflows.unreadable) == [bad]


async def test_a_newer_format_is_refused_by_name(store: MemoryStore, workflows: WorkflowStore) -> None:
    queue_id = (await workflows.create(planned())).workflow.queue_id
    store.damage(KIND, queue_id, b'{"format": %d, "all": "new"}' % (FORMAT + 1))
    with pytest.raises(ConfigError, match=rf"{queue_id}: format {FORMAT + 1}.*upgrade StreamForge"):
        await WorkflowStore(store).load()


async def test_removing(store: MemoryStore, workflows: WorkflowStore) -> None:
    stored = await workflows.create(accepted())
    latest = await workflows.replace(stored, replace(stored.workflow, **ENDED))
    with pytest.raises(ConflictError):
        await workflows.remove(stored)
    await workflows.remove(latest)
    assert await workflows.get(stored.workflow.queue_id) is None
    assert await workflows.change(stored.workflow.queue_id, lambda w: w) is None
