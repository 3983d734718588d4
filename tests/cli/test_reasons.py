"""How a reason is told on one line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from streamforge.cli.loading import short
from streamforge.cli.workflows import _tell_event
from tests.adapters.embedded.launcher.support import ended, job, make, number, until

LINE = json.dumps({"queue_id": "wf-x", "event": "written", "level": "info", "records": 1000})
FAILED = json.dumps({"queue_id": "wf-x", "event": "the work failed", "exception": "Traceback …\n  x\nValueError: no"})


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("the exchange is away", "the exchange is away"),
        ("bad:\nfirst\n\nlast\n", "bad: … last"),
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
