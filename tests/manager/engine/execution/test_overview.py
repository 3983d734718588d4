"""The overview that is kept up to date is the one that a look through all workflows would give."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.engine.execution.overview import Overview
from streamforge.manager.engine.persistence.workflow_store import Stored
from tests.manager.support import (
    LOADER,
    NOW,
    SINK,
    accepted,
    attempt,
    changed,
    decide_running,
    planned,
    replace,
    step,
    with_attempt,
)

CODES = ("abc123", "def456", "ghi789")


def named(workflow: Workflow, code: str) -> Workflow:
    """The workflow as if it had the queue_id of `code`, jobs included."""
    changed = replace(workflow, queue_id=f"{workflow.queue_id[:-6]}{code}")
    for of in changed.steps:
        attempts = tuple(replace(one, job=f"{one.job[:-6]}{code}") for one in of.attempts)
        changed = changed.with_step(replace(of, attempts=attempts))
    return changed


RUNNING = decide_running()
STATES = (
    accepted(),
    planned(),
    RUNNING,
    with_attempt(RUNNING, LOADER, observed=False),
    with_attempt(RUNNING, SINK, terminal_event="finished"),
    with_attempt(RUNNING, LOADER, ended_ms=NOW, terminal_event="finished", outcome="finished"),
    with_attempt(with_attempt(RUNNING, LOADER, ended_ms=NOW), SINK, ended_ms=NOW, outcome="failed"),
    with_attempt(RUNNING, LOADER, started_ms=None),
)


def facts(overview: Overview) -> dict[str, Any]:
    names = ("started", "hurried", "owners", "current", "silent", "loaders", "starting")
    return {name: getattr(overview, name) for name in names}


@given(st.lists(st.tuples(st.sampled_from(CODES), st.sampled_from([None, *STATES])), max_size=20))
def test_it_is_what_a_fresh_look_at_everything_gives(changes: list[tuple[str, Workflow | None]]) -> None:
    live = dict[str, Stored]()
    overview = Overview(live)
    for code, state in changes:
        if state is None:
            live.pop(code, None)
        else:
            live[code] = Stored(named(state, code), "1")
        overview.changed.clear()
        overview.refresh()
        fresh = Overview(live)
        fresh.refresh()
        assert facts(overview) == facts(fresh)
        assert overview.changed == ({code} if state is not None else set())


def test_what_it_says_of_a_workflow() -> None:
    live = {"wf": Stored(with_attempt(RUNNING, SINK, terminal_event="finished"), "1")}
    overview = Overview(live)
    overview.refresh()
    loader, sink = step(RUNNING, LOADER), attempt(RUNNING, SINK)
    jobs = {attempt(RUNNING, LOADER).job, sink.job}
    assert overview.started == 1
    assert overview.hurried == {"wf"}, "the sink has said its last word: its job is about to be gone"
    assert overview.current == jobs
    assert overview.owners == dict.fromkeys(jobs, "wf")
    assert set(overview.silent) == jobs - {sink.job}
    assert overview.loaders == {attempt(RUNNING, LOADER).job: ("wf", loader)}
    live["wf"] = Stored(replace(RUNNING, status=Status.PENDING), "2")
    overview.known("wf")
    overview.refresh()
    assert overview.changed == set(), "the one that changed it has looked at it"
    assert overview.started == 0
    assert overview.hurried == set()


def test_those_that_stop_together_count_until_the_last_has_ended() -> None:
    stopping = changed(RUNNING, endless=True, stop_asked_ms=NOW)
    live = {code: Stored(named(stopping, code), "1") for code in CODES}
    overview = Overview(live)
    for left in (3, 2, 1):
        overview.refresh()
        assert overview.most_stopping == 3, left
        live.pop(CODES[left - 1])
    overview.refresh()
    assert overview.most_stopping == 0
