"""How far a workflow is, and a reason on one line, as a person reads them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.cli.commands.workflow_commands import _status, _tell_event, messages_left, step_rows
from streamforge.cli.progress import EVERY_S, LONGEST_S, Lines, summary, waits_for
from streamforge.cli.terminal import short
from streamforge.manager import answers
from tests.adapters.embedded.launcher.support import ended, job, make, number, until
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
    assert told.after(LONGEST_S, workflow()) == 0, "nothing has changed"
    lines = [told.after(EVERY_S, workflow(progress=stored(20_000 + n))) for n in range(128)]
    at = [n for n, count in enumerate(lines) if count]
    assert (at[:6], sum(lines)) == ([0, 2, 6, 14, 30, 60], 8), "twice as long each time, up to five minutes"
    assert told.after(0.1, workflow(status="stopping")) == 1
    assert told.after(EVERY_S, workflow(status="stopping", progress=stored(30_000))) == 1
    assert told.after(9, workflow(status="finished")) == 0, "its end is told by who followed it"


def test_of_an_order_book_it_is_told_what_waits_for_its_segment(capsys: pytest.CaptureFixture[str]) -> None:
    def live(waiting: int) -> answers.Started:
        return workflow(live={"state": "syncing", "records_waiting": waiting})

    told = Told(capsys)
    assert [told.after(EVERY_S, live(waiting)) for waiting in (0, 5, 5, 9)] == [1, 1, 0, 1]


def test_of_a_batch_the_same_line_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = Lines(lambda: now)
    for at, status, text in (
        (0, "running", "1 of 9"),
        (60, "running", "1 of 9"),
        (60, "running", "2 of 9"),
        (70, "running", "3 of 9"),
        (80, "running", "4 of 9"),
        (81, "stopping", "4 of 9"),
    ):
        now = at
        lines.draw(status, None, text, "")
    told = capsys.readouterr().err.splitlines()
    assert told == ["running: 1 of 9", "running: 2 of 9", "running: 4 of 9", "stopping: 4 of 9"]


def test_of_a_batch_a_reason_to_wait_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = Lines(lambda: now)
    for _ in range(9):
        now += 1
        lines.draw("running", None, "1 of 9", "")
        lines.draw("running", None, "1 of 9", "waits for the exchange: request weight")
    told = capsys.readouterr().err.splitlines()
    assert told == ["running: 1 of 9", "running: 1 of 9, waits for the exchange: request weight"]


def test_of_a_topic_without_an_end_messages_are_counted() -> None:
    topic = {"topic": "t", "until": "stop", "readings": 0, "complete": None, "partitions": []}
    assert summary(workflow(topic_input=topic, progress={"records_stored": 5})) == "running, 5 messages stored"


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


LINE = json.dumps({"queue_id": "wf-x", "event": "written", "level": "info", "records": 1000})
FAILED = json.dumps({"queue_id": "wf-x", "event": "the work failed", "exception": "Traceback …\n  x\nValueError: no"})


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("the exchange is away", "the exchange is away"),
        ("bad:\nfirst\n\nlast\n", "bad: … last"),
        ("3 attempts failed; it last wrote:\n  File x\n  TypeError: no\n\n", "3 attempts failed: … TypeError: no"),
        (f"killed by signal 9 (SIGKILL); it last wrote:\n{LINE}\n{LINE}", "killed by signal 9 (SIGKILL)"),
        (f"stuck; killed by signal 9 (SIGKILL); it last wrote:\n{LINE}", "stuck; killed by signal 9 (SIGKILL)"),
        (f"exit code 1; it last wrote:\n{LINE}\n{FAILED}", "exit code 1: … the work failed: ValueError: no"),
        ("exit code 1; it last wrote:\nMemoryError", "exit code 1: … MemoryError"),
        ('exit code 1; it last wrote:\n{"a": 1}', 'exit code 1: … {"a": 1}'),
        ("exit code 1; it wrote nothing", "exit code 1; it wrote nothing"),
    ],
)
def test_a_reason_is_told_on_one_line_and_a_log_line_in_words(reason: str, told: str) -> None:
    assert short(reason) == told


def how_it_ended(step: answers.Step, *, driven: bool = True) -> list[str]:
    return [str(row[-1]) for row in step_rows(step, driven=driven)]


def attempt(number: int, status: str = "error", reason: str = "", last_word: str | None = None) -> answers.Attempt:
    ended = "2024-08-01T00:00:00Z"
    return answers.Attempt(number=number, status=status, ended_at=ended, reason=reason, last_word=last_word)


def step(status: str, *attempts: answers.Attempt) -> answers.Step:
    return answers.Step(target="arango-candles", role="sink", telemetry_id="x", status=status, attempts=list(attempts))


def test_of_an_attempt_that_was_ended_what_comes_next_is_told() -> None:
    killed = "killed by signal 9 (SIGKILL)"
    one = attempt(1, reason=killed)
    assert how_it_ended(step("waiting", one)) == [f"{killed}; it is tried again"]
    assert how_it_ended(step("waiting", one), driven=False) == [killed]
    assert how_it_ended(step("waiting", attempt(1))) == ["it is tried again"]
    assert how_it_ended(step("error", one)) == [killed], "it was the last"
    assert how_it_ended(step("waiting", attempt(1, "finished", last_word="finished"))) == ["finished"]
    running = answers.Attempt(number=2, status="running")
    assert how_it_ended(step("running", one, running)) == [killed, "", ""], "the next one is shown"


def test_each_attempt_tells_its_own_records_and_all_together_have_a_line() -> None:
    def shown(*records: int) -> list[list[str]]:
        attempts = (
            msgspec.structs.replace(attempt(n), progress=answers.AttemptProgress(records=r))
            for n, r in enumerate(records, 1)
        )
        one = msgspec.structs.replace(step("finished", *attempts), records=sum(records))
        return [[str(cell) for cell in row[:4]] for row in step_rows(one)]

    assert shown(19_000, 460_000) == [
        ["arango-candles", "error", "1", "19,000"],
        ["", "error", "2", "460,000"],
        ["", "finished", "all", "479,000"],
    ]
    assert shown(360) == [["arango-candles", "error", "1", "360"]]
    assert shown() == [["arango-candles", "finished", "", ""]]


def test_of_an_attempt_that_nobody_watches_it_is_not_said_that_it_runs() -> None:
    running = answers.Attempt(number=2, status="running")

    def states(one: answers.Step, *, driven: bool) -> list[str]:
        return [str(row[1]) for row in step_rows(one, driven=driven)]

    two = step("running", attempt(1), running)
    assert states(two, driven=False) == ["error", "running, not driven", "running, not driven"]
    assert states(two, driven=True) == ["error", "running", "running"]
    assert states(step("waiting", attempt(1)), driven=False) == ["error"]
    assert states(step("pending"), driven=False) == ["pending"], "there is no attempt yet"


def test_what_the_next_attempt_waits_for_is_told_without_the_lines_of_a_log() -> None:
    pause = "the next attempt of arango-candles at 2024-08-01T00:00Z; the one before: "
    for before, told in (
        (f"killed by signal 9 (SIGKILL); it last wrote:\n{LINE}\n{LINE}", "killed by signal 9 (SIGKILL)"),
        (f"exit code 1; it last wrote:\n{LINE}\n{FAILED}", "exit code 1: … the work failed: ValueError: no"),
    ):
        assert waits_for(workflow(waiting_for=pause + before)) == f"waits for {pause}{told}"


@pytest.mark.e2e
async def test_of_a_worker_that_was_killed_the_signal_is_told_and_not_its_log(tmp_path: Path) -> None:
    launcher = make(tmp_path)
    await launcher.start(job("killed", f"echo '{LINE}'; echo $$ >{tmp_path}/pid; exec sleep 60"))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    os.kill(number(tmp_path / "pid"), signal.SIGKILL)
    reason = (await ended(launcher, "killed")).reason
    assert LINE in reason
    assert short(reason) == "killed by signal 9 (SIGKILL)"
    await launcher.close()


def test_an_event_is_told_without_the_lines_of_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    event: dict[str, object] = {
        "event": "error",
        "producer": "arango-candles__abc123",
        "error_message": f"killed by signal 9 (SIGKILL); it last wrote:\n{LINE}",
    }
    _tell_event(7, event, as_json=False)
    assert capsys.readouterr().out.endswith("arango-candles__abc123: killed by signal 9 (SIGKILL)\n")
    _tell_event(7, event, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"id": 7, "event": event}


def test_what_a_sink_that_could_not_say_so_has_left_is_told() -> None:
    for left, at_least, told in (
        (1234, False, "arango-candles has left 1,234 messages unstored"),
        (1234, True, "arango-candles has left at least 1,234 messages unstored"),
        (0, True, "how many messages arango-candles has left unstored is not known"),
        (0, False, ""),
        (None, False, ""),
    ):
        one = msgspec.structs.replace(step("interrupted"), messages_left=left, messages_left_at_least=at_least)
        assert messages_left(one) == (told and f"{told}: a retry loads what is missing")
