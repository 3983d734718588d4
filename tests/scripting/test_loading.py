"""streamforge.load: into a folder and at a server, what it shows, what it raises, and how it is interrupted."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import streamforge
from streamforge.scripting import notebook_bar
from streamforge.scripting.notebook_bar import NotebookBar, in_notebook
from streamforge_utils.model.errors import InvalidInput
from tests.cleanenv import environment
from tests.cli.support import HOUR, TYPE, YEARS, manager, until, workers_of, workflow_answer
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e


async def test_an_hour_is_loaded_into_a_folder_and_read(
    tmp_path: Path, exchange_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    outcome = streamforge.load("btcusdt", TYPE, HOUR, data=tmp_path / "data", exchange=exchange_url)
    assert (outcome.status, outcome.records_expected, outcome.records_stored, outcome.records_there) == (
        *("finished", 60),
        *(60, 0),
    )
    assert [(one.verdict, one.records) for one in outcome.coverage] == [("stored", 60)]
    assert f"{outcome.queue_id}: BTCUSDT {TYPE} 2024-08-01 to 2024-08-01T01:00Z" in capsys.readouterr().err
    assert len(streamforge.read("BTCUSDT", TYPE, HOUR, data=tmp_path / "data").frame) == 60
    again = streamforge.load("BTCUSDT", TYPE, HOUR, data=tmp_path / "data", exchange=exchange_url, progress=False)
    assert (again.records_there, capsys.readouterr()) == (60, ("", ""))
    assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
    assert workers_of(tmp_path / "data") == []


def test_a_server_loads_and_gives_it(tmp_path: Path, loaded_data: Path, exchange_url: str) -> None:
    shutil.copytree(loaded_data, tmp_path / "data")
    with manager(tmp_path / "data", exchange_url) as (_, told):
        outcome = streamforge.load("ETHUSDT", TYPE, HOUR, server=told["url"])
        assert (outcome.status, outcome.records_stored) == ("finished", 60)
        assert len(streamforge.read("ETHUSDT", TYPE, HOUR, server=told["url"]).frame) == 60
        joined = streamforge.load("ETHUSDT", TYPE, HOUR, data=tmp_path / "data")
        assert joined.records_there == 60, "the manager that runs on the folder is used"


def test_a_load_that_fails_says_why(tmp_path: Path, exchange_url: str) -> None:
    with pytest.raises(streamforge.StreamForgeError, match="NOSUCHUSDT"):
        streamforge.load("NOSUCHUSDT", TYPE, HOUR, data=tmp_path / "data", exchange=exchange_url)
    assert workers_of(tmp_path / "data") == []


def test_a_load_that_takes_too_long_is_stopped_in_order(tmp_path: Path, slow_url: str) -> None:
    with pytest.raises(streamforge.LoadFailed, match="was not finished in time and was stopped") as caught:
        streamforge.load("BTCUSDT", TYPE, YEARS, data=tmp_path / "data", exchange=slow_url, timeout_s=3)
    assert caught.value.outcome.status == "interrupted"
    assert workers_of(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (("BTCUSDT", TYPE, "2099"), {}, "time_range"),
        (("BTCUSDT,ETHUSDT", TYPE, "2024"), {}, "symbol 'BTCUSDT,ETHUSDT' is not one symbol: loop over them"),
        ((["BTCUSDT", "ETHUSDT"], TYPE, "2024"), {}, "is not one symbol: loop over them"),
        (("BTCUSDT", TYPE, ("2024-07", "2024-08")), {}, "time_range .* is no text: write START:END as one"),
        (("BTCUSDT", "api_candle_1m", "2024"), {}, "did you mean api_candles_1m"),
        (
            ("BTCUSDT", TYPE, "2024"),
            {"source": "disk"},
            "source 'disk' is not known: choose one of auto, archive, rest",
        ),
        (("BTCUSDT", TYPE, "2024"), {"timeout_s": 0}, "timeout_s 0 is not a time"),
        (("BTCUSDT", TYPE, "2024"), {"data": None, "server": "http://127.0.0.1:1", "exchange": "test"}, "has its own"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_starts(
    arguments: tuple[Any, ...], options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=told):
        streamforge.load(*arguments, **{"data": tmp_path / "data", **options})
    assert not (tmp_path / "data").exists()


def test_a_server_that_does_not_answer_is_told() -> None:
    with pytest.raises(streamforge.StreamForgeError, match=r"no server answers at http://127.0.0.1:1"):
        streamforge.load("BTCUSDT", TYPE, HOUR, server="http://127.0.0.1:1")


SCRIPT = """
import signal, sys, threading, streamforge
signal.signal(signal.SIGINT, signal.default_int_handler)  # what was begun in the background ignores it
try:
    streamforge.load("BTCUSDT", sys.argv[1], sys.argv[2], data=sys.argv[3], exchange=sys.argv[4])
except KeyboardInterrupt as stopped:
    print(stopped)
others = [one.name for one in threading.enumerate() if one is not threading.main_thread() and not one.daemon]
print("goes on", others)
"""


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_stops_it_in_order_and_the_script_goes_on(tmp_path: Path, slow_url: str, times: int) -> None:
    data = tmp_path / "data"
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, TYPE, YEARS, str(data), slow_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        until(lambda: len(workers_of(data)) >= 2 or script.poll() is not None)
        assert script.stderr is not None
        script.send_signal(signal.SIGINT)
        if times == 2:
            while "stopping in order" not in script.stderr.readline():
                assert script.poll() is None
            script.send_signal(signal.SIGINT)
        out, err = script.communicate(timeout=LIMIT_S)
    finally:
        script.kill()
        script.communicate()
    first, second = out.splitlines()
    assert "Traceback" not in err
    assert second == "goes on []"
    if times == 1:
        assert "was stopped (interrupted): go on with `streamforge retry wf-btcusdt" in first
        assert workers_of(data) == []
    else:
        for left in workers_of(data):  # they would go on until they miss a manager
            os.kill(left, signal.SIGKILL)
        assert "was stopped (interrupted)" in first or "as it is: the next manager on its data continues it" in first


class Put:
    """What a notebook's cell shows."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.updates = 0

    def __call__(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Put:
        assert raw
        assert display_id
        self.shown.append(data)
        return self

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.updates += 1
        self.shown[-1] = data


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Put:
    """As in the kernel of a notebook."""
    put = Put()
    shell, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    monkeypatch.setattr(shell, "get_ipython", lambda: types.SimpleNamespace(kernel=object()), raising=False)
    monkeypatch.setattr(shown, "display", put, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    return put


def test_in_a_notebook_a_bar_moves_in_its_place(
    kernel: Put, tmp_path: Path, exchange_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_notebook()
    outcome = streamforge.load("BTCUSDT", TYPE, HOUR, data=tmp_path / "data", exchange=exchange_url)
    (cell,) = kernel.shown
    assert cell["text/plain"] == f"{outcome.queue_id}: finished, 60 of 60 (100 %)"
    assert cell["text/html"] == (
        f'<progress style="width: 20em" value="60" max="60"></progress> {outcome.queue_id}: finished, 60 of 60 (100 %)'
    )
    assert capsys.readouterr().out.startswith(f"{outcome.queue_id}: BTCUSDT {TYPE}")


def test_the_bar_is_drawn_when_something_has_changed_and_shows_text_as_text(kernel: Put) -> None:
    bar = NotebookBar()
    waits = workflow_answer(status="running", waiting_for="<b>room</b>", progress={"records_expected": None})
    for _ in range(3):
        bar.show(waits)
    bar.show(workflow_answer(status="running", progress={"records_expected": 0, "records_stored": 0}))
    assert (len(kernel.shown), kernel.updates) == (1, 1)
    assert 'value="1" max="1"' in kernel.shown[0]["text/html"]
    drawn = notebook_bar.picture(waits)["text/html"]
    assert "&lt;b&gt;room&lt;/b&gt;" in drawn
    assert "value" not in drawn
