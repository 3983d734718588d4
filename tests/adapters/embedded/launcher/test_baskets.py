"""Jobs that one process does: each is seen, stopped and forgotten for itself; with the process ends who has not yet."""

# ruff: noqa: ASYNC240 - the files are small

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from streamforge_utils.adapters.embedded.launcher import process_launcher
from streamforge_utils.adapters.embedded.launcher.basket_folders import ask_to_stop
from streamforge_utils.adapters.embedded.launcher.folder import Folder
from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError
from streamforge_utils.ports.basket_members import BASKET, BASKET_DIR, BASKET_REPORT, MOST_BYTES, Member
from streamforge_utils.ports.launcher import Job, JobSpec, JobState
from tests.adapters.embedded.launcher.support import alive, ended, make, number, until
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e

OBEDIENT = """
while :; do
    left=0
    for name in a b c; do
        [ -e "$STREAMFORGE_BASKET_DIR/$name/exit" ] && continue
        left=1
        [ -e "$STREAMFORGE_BASKET_DIR/$name/stop" ] && echo 1 >"$STREAMFORGE_BASKET_DIR/$name/exit"
    done
    [ "$left" = 0 ] && exit 1
    sleep 0.01
done
"""
DEAF = "trap '' TERM; while :; do sleep 0.02; done"


def members(script: str, *names: str, **environment: str) -> list[JobSpec]:
    return [
        JobSpec(
            name=name,
            target="loader-ws-trades",
            queue_id=f"wf-{name}",
            attempt=3,
            environment={"SCRIPT": script, "SYMBOL": name.upper(), **environment},
        )
        for name in names
    ]


async def seen(launcher: ProcessLauncher) -> dict[str, Job]:
    return {job.name: job for job in await launcher.jobs()}


def process_folder(directory: Path, job: Job) -> Path:
    return directory / job.basket


async def test_each_job_is_seen_for_itself_and_all_have_one_process(launcher: ProcessLauncher, directory: Path) -> None:
    specs = members(f'echo "$SYMBOL$STREAMFORGE_BASKET" >"{directory}.told"; {OBEDIENT}', "a", "b", "c")
    await launcher.start_together(specs)
    found = await seen(launcher)
    assert [(job.name, job.queue_id, job.attempt, job.state) for job in found.values()] == [
        (name, f"wf-{name}", 3, JobState.RUNNING) for name in "abc"
    ]
    (basket,) = {job.basket for job in found.values()}
    told = Path(f"{directory}.told")
    await until(lambda: told.exists() and told.read_text().endswith("\n"))
    assert msgspec.json.decode(told.read_text(), type=list[Member]) == [
        Member(name, {"SYMBOL": name.upper()}) for name in "abc"
    ]
    before = number(directory / basket / "pid")
    await launcher.start_together(specs[1:])
    await launcher.start(specs[0])
    assert await seen(launcher) == found
    assert number(directory / basket / "pid") == before


async def test_a_job_is_stopped_alone_and_the_process_ends_with_the_last(
    launcher: ProcessLauncher, directory: Path
) -> None:
    await launcher.start_together(members(OBEDIENT, "a", "b", "c"))
    await launcher.stop("b", grace_s=0)
    found = await seen(launcher)
    assert [job.state.value for job in found.values()] == ["running", "ended", "running"]
    assert (found["b"].exit_code, found["b"].signal) == (1, None)
    pid = number(process_folder(directory, found["a"]) / "pid")
    assert alive(pid)
    for name in "ac":
        await launcher.stop(name, grace_s=0)
    await until(lambda: not alive(pid))
    assert {job.state for job in (await seen(launcher)).values()} == {JobState.ENDED}


async def test_what_kills_the_process_ends_those_that_have_not_ended(
    launcher: ProcessLauncher, directory: Path
) -> None:
    await launcher.start_together(members(OBEDIENT, "a", "b", "c"))
    await launcher.stop("b", grace_s=0)
    found = await seen(launcher)
    os.kill(number(process_folder(directory, found["a"]) / "pid"), signal.SIGKILL)
    ends = [await ended(launcher, name) for name in "abc"]
    assert [(job.exit_code, job.signal) for job in ends] == [(None, 9), (1, None), (None, 9)]
    assert "SIGKILL" in ends[0].reason


async def test_one_that_does_not_end_in_time_is_ended_with_its_process(
    launcher: ProcessLauncher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_launcher, "MEMBER_GRACE_S", 0.1)
    monkeypatch.setattr(process_launcher, "BASKET_GRACE_S", 0.1)
    await launcher.start_together(members(DEAF, "a", "b"))
    await launcher.stop("a", grace_s=0)
    assert [(job.state.value, job.signal) for job in (await seen(launcher)).values()] == [("ended", 9)] * 2


async def test_the_others_are_asked_once_and_have_time_to_end_in_order(
    launcher: ProcessLauncher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_launcher, "MEMBER_GRACE_S", 0.1)
    monkeypatch.setattr(process_launcher, "BASKET_GRACE_S", LIMIT_S)
    asked, ready = Path(f"{directory}.asked"), Path(f"{directory}.ready")
    trap = f'n=0; trap \'n=$((n + 1)); echo $n >>"{asked}"\' TERM; touch "{ready}"'
    await launcher.start_together(members(f'{trap}; until [ -e "{asked}.end" ]; do sleep 0.02; done', "a", "b", "c"))
    await until(ready.exists)
    first = asyncio.create_task(launcher.stop("a", grace_s=0))
    await until(asked.exists)
    second = asyncio.create_task(launcher.stop("b", grace_s=0))
    await asyncio.sleep(0.5)  # in which the second would signal it again
    assert [first.done(), second.done()] == [False, False]
    Path(f"{asked}.end").touch()
    await asyncio.gather(first, second)
    assert asked.read_text() == "1\n"
    assert [(job.state.value, job.exit_code) for job in (await seen(launcher)).values()] == [("ended", 0)] * 3


async def test_where_all_were_asked_to_end_nobody_is_waited_for(
    launcher: ProcessLauncher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_launcher, "MEMBER_GRACE_S", 0.1)
    monkeypatch.setattr(process_launcher, "BASKET_GRACE_S", 100 * LIMIT_S)
    await launcher.start_together(members(DEAF, "a", "b"))
    ask_to_stop(Folder(directory, "b"))
    async with asyncio.timeout(LIMIT_S):
        await launcher.stop("a", grace_s=0)
    assert [(job.state.value, job.signal) for job in (await seen(launcher)).values()] == [("ended", 9)] * 2


async def test_the_folder_of_the_process_goes_with_the_last_job_that_is_forgotten(
    launcher: ProcessLauncher, directory: Path
) -> None:
    await launcher.start_together(members("exit 0", "a", "b"))
    found = [await ended(launcher, name) for name in "ab"]
    assert [(job.exit_code, job.reason) for job in found] == [(0, "")] * 2
    await launcher.forget("a")
    assert sorted(path.name for path in directory.iterdir()) == sorted([found[1].basket, "b"])
    await launcher.forget("b")
    assert list(directory.iterdir()) == []


async def test_a_job_that_runs_is_not_forgotten(launcher: ProcessLauncher) -> None:
    await launcher.start_together(members(OBEDIENT, "a", "b", "c"))
    with pytest.raises(ConflictError, match="a runs"):
        await launcher.forget("a")


async def test_another_launcher_finds_them_again(launcher: ProcessLauncher, directory: Path) -> None:
    specs = members(OBEDIENT, "a", "b", "c")
    await launcher.start_together(specs)
    other = make(directory)
    assert await seen(other) == await seen(launcher)
    await other.start_together(specs)
    await other.stop("a", grace_s=0)
    assert (await seen(launcher))["a"].state is JobState.ENDED
    await other.close()


async def test_what_a_launcher_left_that_was_killed_in_the_middle_of_a_start_is_started(
    launcher: ProcessLauncher, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise RetryableError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(launcher, "_start", killed)
        with pytest.raises(RetryableError):
            await launcher.start_together(members(OBEDIENT, "a", "b", "c"))
    (left,) = directory.glob("basket-*")
    assert await seen(launcher) == {}
    await launcher.stop("a", grace_s=0)
    await launcher.start_together(members(OBEDIENT, "b", "c"))
    assert sorted(await seen(launcher)) == ["b", "c"]
    await launcher.start(members("exit 0", "a")[0])
    assert ((await ended(launcher, "a")).exit_code, (await seen(launcher))["a"].basket) == (0, "")
    os.utime(left, (0, 0))
    other = make(directory)
    assert len(await other.jobs()) == 3
    assert not left.exists()
    await other.close()


async def test_more_than_fits_into_an_environment_becomes_several_processes(
    launcher: ProcessLauncher, directory: Path
) -> None:
    specs = members("exit 0", "a", "b", "c", "d")
    large = [msgspec.structs.replace(one, environment={**one.environment, "X": one.name * 30_000}) for one in specs]
    await launcher.start_together(large)
    found = [await ended(launcher, name) for name in "abcd"]
    assert [job.exit_code for job in found] == [0] * 4
    assert found[0].basket == found[1].basket != found[2].basket == found[3].basket
    assert MOST_BYTES // 30_000 == 2


async def test_one_job_alone_is_no_basket_and_a_name_of_a_basket_is_no_job(launcher: ProcessLauncher) -> None:
    await launcher.start_together(members("exit 0", "a"))
    assert (await ended(launcher, "a")).basket == ""
    with pytest.raises(ConfigError, match="not legal"):
        await launcher.start_together(members("exit 0", "b", "basket-x"))
    assert list(await seen(launcher)) == ["a"]


def test_the_variables_have_these_names() -> None:
    """Images of another version read them."""
    assert (BASKET, BASKET_DIR) == ("STREAMFORGE_BASKET", "STREAMFORGE_BASKET_DIR")
    assert BASKET_REPORT == "STREAMFORGE_BASKET_REPORT"
