"""The command `logs`: what each step's process wrote, and what comes."""

from __future__ import annotations

import json

import pytest

from streamforge.cli.commands import log_command
from streamforge.cli.commands.log_command import logs
from streamforge.manager.engine.document import Status
from tests.cli.support import serving
from tests.manager.api.support import running, started
from tests.manager.memory_service import MemoryService
from tests.manager.support import LOADER, SINK, attempt, job_named, replace, with_attempt

LINES = pytest.CaptureFixture[str]


async def test_each_step_is_told_apart_and_one_alone_is_as_it_was_written(capsys: LINES) -> None:
    service = await MemoryService.made()
    workflow = running(await started(service))
    await service.put(workflow)
    launcher = service.world.launcher
    for target, text in ((LOADER, "one\ntwo\n"), (SINK, "three\n")):
        job = attempt(workflow, target).job
        launcher.known[job], launcher.logs[job] = job_named(job), text
    async with serving(service) as where:
        assert await logs(workflow.queue_id, where) == 0
        told = capsys.readouterr()
        assert sorted(told.out.splitlines()) == sorted([f"{LOADER}: one", f"{LOADER}: two", f"{SINK}: three"])
        assert f"{LOADER} (attempt 1):" in told.err
        assert await logs(workflow.queue_id, where, step=LOADER) == 0
        assert capsys.readouterr().out == "one\ntwo\n"
        assert await logs(workflow.queue_id, where, step=LOADER, attempt=1, as_json=True) == 0
        first = json.loads(capsys.readouterr().out.splitlines()[0])
        assert first == {"step": LOADER, "attempt": 1, "line": "one"}


async def test_what_comes_is_followed_to_the_end_of_the_workflow(
    capsys: LINES, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await MemoryService.made()
    workflow = running(await started(service))
    await service.put(workflow)
    launcher, job = service.world.launcher, attempt(workflow, LOADER).job
    launcher.known[job], launcher.logs[job] = job_named(job), "one\n"
    looks = iter(["one\ntwo\n", "other\n"])

    async def later(_: float) -> None:
        launcher.logs[job] = next(looks, "other\n")
        if launcher.logs[job] == "other\n":
            ended = with_attempt(workflow, LOADER, ended_ms=service.clock.now_ms())
            await service.put(replace(ended, status=Status.FINISHED, ended_ms=service.clock.now_ms()))

    monkeypatch.setattr(log_command, "wait", later)
    async with serving(service) as where:
        assert await logs(workflow.queue_id, where, follow=True, step=LOADER) == 0
    told = capsys.readouterr()
    assert told.out == "one\ntwo\nother\n"
    assert "some lines between these were not seen" in told.err
