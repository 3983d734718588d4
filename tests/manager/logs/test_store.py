from __future__ import annotations

import pytest

from streamforge.manager.logs.store import ATTEMPTS_KEPT, COLLECTION, AttemptLogs, KeptLog, lines_of
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.launcher import Job
from streamforge_utils.ports.store import Answer, Outcome
from tests.doubles.memorystore import MemoryStore
from tests.manager.support import job_named


def job(queue_id: str, target: str, number: int, **fields: object) -> Job:
    given = {"queue_id": queue_id, "target": target, "attempt": number, "ended_ms": number, **fields}
    return job_named(f"job-{target}-{number}", **given)


async def test_the_newest_of_each_step_are_kept_and_those_of_a_workflow_are_forgotten_together() -> None:
    logs = AttemptLogs(MemoryStore())
    for number in range(1, ATTEMPTS_KEPT + 3):
        await logs.keep(job("wf-a", "sink", number), f"{number}")
    await logs.keep(job("wf-a", "sink-2", 1), "two")
    await logs.keep(job("wf-ab", "sink", 1), "another's")
    assert [await logs.read("wf-a", "sink", number) is None for number in (1, 2, 3)] == [True, True, False]
    assert await logs.read("wf-a", "sink", 18) == KeptLog(job="job-sink-18", text="18")
    assert await logs.read("wf-a", "sink-2", 1) == KeptLog(job="job-sink-2-1", text="two")
    asked = [job("wf-a", "sink", 2), job("wf-a", "sink", 18), job("wf-b", "sink", 18)]
    assert await logs.lacking(asked) == [asked[0], asked[2]]
    await logs.remove("wf-a")
    assert [await logs.read("wf-a", "sink", 18), await logs.read("wf-a", "sink-2", 1)] == [None, None]
    assert await logs.read("wf-ab", "sink", 1) is not None


async def test_what_the_store_refuses_is_an_error_that_names_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()

    async def refuse(collection: str, documents: object) -> list[Answer]:
        assert collection == COLLECTION
        return [Answer(Outcome.REFUSED, "too large")]

    monkeypatch.setattr(store, "upsert", refuse)
    with pytest.raises(PermanentError, match="log of job job-sink-1 could not be kept: too large"):
        await AttemptLogs(store).keep(job("wf-a", "sink", 1), "text")


def test_of_a_log_to_which_many_write_each_has_its_own_lines_and_those_of_nobody_with_a_mark() -> None:
    lines = [
        '{"queue_id": "wf-a", "event": "one"}\n',
        '{"event": "two", "queue_id": "wf-ab"}\n',
        "three\n",
        '{"event": "four"}\n',
    ]
    expected = f'{lines[0]}(shared) three\n{{"shared": true, "event": "four"}}\n'
    assert lines_of("wf-a", "".join(lines)) == expected
    assert lines_of("wf-a", "".join([lines[0], *lines[2:]]), basket=True) == expected


def test_a_log_of_one_worker_is_given_as_it_is() -> None:
    text = '{"queue_id": "wf-a"}\nthree\n{"event": "four"}\n'
    assert lines_of("wf-a", text, shared_bytes=0) == text


def test_of_what_a_basket_wrote_of_nobody_only_the_end_is_kept_and_all_of_its_own() -> None:
    own = [f'{{"queue_id": "wf-a", "n": {n}}}\n' for n in range(1000)]
    shared = [f"{n:03d}\n" for n in range(1000)]
    text = "".join(line for pair in zip(own, shared, strict=True) for line in pair)
    size = len("(shared) 000\n")
    found = lines_of("wf-a", text, basket=True, shared_bytes=3 * size + 1).splitlines(keepends=True)
    assert [line for line in found if line in own] == own
    assert [line for line in found if line not in own] == ["(shared) 997\n", "(shared) 998\n", "(shared) 999\n"]
