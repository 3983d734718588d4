"""Processes of containers: their ends, their output, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.kubernetes.kubelet.logs import last_words
from tests.engines.kubernetes.kubelet.process import Nothing, Process
from tests.engines.kubernetes.kubelet.reaper import MARK, Reaper
from tests.engines.process import alive

_LIMIT_S = 30.0


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    found = Reaper("test-of-processes")
    found.start()
    yield found
    found.close()


def _start(script: str, folder: Path, reaper: Reaper) -> Process:
    environment = {"PATH": os.environ["PATH"], MARK: reaper.mark}
    return Process.start(["sh", "-c", script], environment, folder, folder / "0.log", reaper)


async def _ended(process: Process) -> int:
    return await asyncio.wait_for(process.ended(), _LIMIT_S)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill $$", 143)])
async def test_an_exit_code_is_as_a_container_has_it(script: str, code: int, tmp_path: Path, reaper: Reaper) -> None:
    assert await _ended(_start(script, tmp_path, reaper)) == code


async def test_both_outputs_are_in_the_log(tmp_path: Path, reaper: Reaper) -> None:
    await _ended(_start("echo out; echo err >&2; printf end", tmp_path, reaper))
    assert last_words(tmp_path / "0.log") == "out\nerr\nend\n"


async def test_sigterm_goes_to_the_first_process(tmp_path: Path, reaper: Reaper) -> None:
    process = _start("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done", tmp_path, reaper)
    await _until(lambda: last_words(tmp_path / "0.log") == "ready\n")
    process.terminate()
    assert await _ended(process) == 5


async def test_what_a_process_leaves_behind_ends_with_it(tmp_path: Path, reaper: Reaper) -> None:
    process = _start("sleep 600 & echo $!", tmp_path, reaper)
    assert await _ended(process) == 0
    await _until(lambda: not alive(int(last_words(tmp_path / "0.log"))))


async def test_when_the_kubelet_is_gone_everything_it_started_ends(tmp_path: Path) -> None:
    reaper = Reaper("test-of-the-end")
    reaper.start()
    # One that has left its group is found as well.
    script = "setsid sleep 600 & echo $!; exec sleep 600"
    process = _start(script, tmp_path, reaper)
    await _until(lambda: last_words(tmp_path / "0.log") != "")
    reaper.close()
    assert await _ended(process) == 128 + signal.SIGKILL
    await _until(lambda: not alive(int(last_words(tmp_path / "0.log"))))


async def test_nothing_ends_as_pause_does() -> None:
    told, killed = Nothing(), Nothing()
    told.terminate()
    killed.kill()
    killed.terminate()
    assert (await told.ended(), await killed.ended()) == (0, 137)


async def _until(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + _LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
