"""How far a workflow is, as a person reads it."""

from __future__ import annotations

from typing import Any

import pytest

from streamforge.cli.commands.workflow_commands import _status
from streamforge.cli.progress import EVERY_S, Lines, summary
from streamforge.manager import answers
from tests.cli.support import workflow_answer

DEAD = "loader-api-candles: another try: no connection to http://127.0.0.1:9"
QUEUE_ID = "wf-btcusdt-api_candles_1m-20240801-abc123"


def workflow(**fields: Any) -> answers.Started:
    """A workflow that runs, as the API answers it."""
    progress = {"records_expected": 525_600, "records_stored": 19_000}
    return workflow_answer(**{"queue_id": QUEUE_ID, "status": "running", "progress": progress, **fields})


def stored(records: int, **more: int) -> dict[str, int]:
    return {"records_expected": 525_600, "records_stored": records, **more}


class Told:
    """Lines, by a clock that is moved by hand."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 0.0
        self._capsys = capsys
        self._lines = Lines(lambda: self.now)

    def after(self, seconds: float, found: answers.Started) -> int:
        """How many lines were written."""
        self.now += seconds
        self._lines.show(found)
        return len(self._capsys.readouterr().err.splitlines())


def test_a_reason_to_wait_is_told_once_however_often_it_comes_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys)
    assert told.after(0, workflow()) == 1
    assert told.after(0.2, workflow(waiting_for=DEAD)) == 1
    for _ in range(20):
        assert told.after(1, workflow(waiting_for=None)) + told.after(1, workflow(waiting_for=DEAD)) <= 1
    assert told.after(60, workflow(waiting_for=DEAD)) == 0
    assert told.after(0.2, workflow(waiting_for="a ban")) == 1, "another reason is news"
    assert told.after(EVERY_S, workflow(waiting_for=DEAD, progress=stored(20_000))) == 1, "something was stored since"
    assert told.after(0.1, workflow(waiting_for=DEAD, progress=stored(21_000))) == 0, "not with every record"


def test_what_goes_on_is_told_now_and_then_and_every_change_of_status_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    assert told.after(0, workflow()) == 1
    assert told.after(EVERY_S - 0.1, workflow()) == 0
    assert told.after(0.1, workflow()) == 1
    assert told.after(0.1, workflow(status="stopping")) == 1
    assert told.after(9, workflow(status="finished")) == 0, "its end is told by who followed it"


def test_the_time_at_which_a_step_goes_on_is_told_but_makes_no_reason_new(capsys: pytest.CaptureFixture[str]) -> None:
    def waiting(until: str) -> answers.Started:
        progress = {"waiting": "another try: no connection", "waiting_until": until}
        step = {"target": "loader-api-candles", "role": "loader", "telemetry_id": "t", "status": "running"}
        return workflow(
            waiting_for="loader-api-candles: another try: no connection", steps=[{**step, "progress": progress}]
        )

    assert summary(waiting("2024-08-01T00:00:07Z")).endswith(
        "waits for loader-api-candles: another try: no connection (until 2024-08-01T00:00:07Z)"
    )
    assert summary(waiting("2024-08-01T00:00:07.275Z")).endswith("(until 2024-08-01T00:00:07Z)")
    told = Told(capsys)
    assert told.after(0, waiting("2024-08-01T00:00:07Z")) == 1
    assert told.after(9, waiting("2024-08-01T00:00:16Z")) == 0


def test_that_no_manager_drives_it_is_told_once_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    why = "the manager has not looked at the workflows since 2024-08-11 00:00:00 UTC: the bus does not answer"
    left = workflow(undriven=why, waiting_for=f"a manager: {why}", progress=stored(10_000))
    assert summary(left) == f"running, 10,000 of 525,600 (1 %), not driven: {why}"
    told = Told(capsys)
    assert told.after(0, workflow(progress=stored(10_000))) == 1
    assert [told.after(EVERY_S, left) for _ in range(3)] == [1, 0, 0]


def test_what_was_there_before_counts_and_100_percent_is_when_all_is_there() -> None:
    assert summary(workflow(progress=stored(30_000, records_there=30_000))).startswith(
        "running, 30,000 of 525,600 (5 %), 30,000 of them stored before"
    )
    assert summary(workflow(progress=stored(525_599))) == "running, 525,599 of 525,600 (99 %)"
    assert "(100 %), proving that it is complete" in summary(workflow(progress=stored(525_600)))
    step = {"target": "arango-candles", "role": "sink", "telemetry_id": "t", "status": "finished"}
    assert summary(workflow(progress=stored(525_000), steps=[step])).endswith("(99 %), proving that it is complete")


def test_a_finished_workflow_with_fewer_records_than_its_range_could_hold_is_marked_in_a_list() -> None:
    def told(status: str, **more: Any) -> str:
        return str(_status(workflow(status=status, **more)))

    assert told("finished", progress=stored(525_540)) == "finished, 60 fewer"
    assert told("finished", progress=stored(525_600)) == "finished"
    assert told("finished", progress={}) == "finished"
    assert told("running", undriven="no manager runs on /d") == "running, not driven"
