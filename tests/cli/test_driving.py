"""What commands say of a workflow that no manager drives, and how it is continued."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from pathlib import Path

import msgspec
import pytest

from streamforge.cli.commands.workflow_commands import all_undriven, undriven
from streamforge.cli.coverage_text import description
from streamforge.cli.session import Mode, Where, data_folder, session
from streamforge.manager import answers
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.adapters.embedded.datadir import DataDirectory
from tests.chaos.processes import of_data
from tests.cli.support import (
    TYPE,
    YEARS,
    Cli,
    completed,
    finished,
    line,
    loading,
    manager,
    process,
    until,
    workers_of,
    workflow_answer,
)
from tests.limits import LIMIT_S

MONTH = ("BTCUSDT", TYPE, "2024-08")
DECADE = ("BTCUSDT", TYPE, YEARS)


@pytest.fixture
def left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, slow_url: str, request: pytest.FixtureRequest
) -> tuple[Cli, str]:
    """The command on a folder whose manager was killed in mid-load, with its workers, and the workflow's name.

    It loads a month, or what the test names.
    """
    cli = Cli(capsys, tmp_path / "data", slow_url)
    what = getattr(request, "param", MONTH)
    with loading(cli.data, slow_url, what=what) as started:
        text = line(started, " of 44,640" if what is MONTH else " of 2,103,840")
        until(lambda: cli.stored() > 0)
        started.kill()
        started.wait(LIMIT_S)
    for worker in workers_of(cli.data):
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    until(lambda: not of_data(cli.data))
    return cli, text.partition(":")[0]


@pytest.mark.e2e
def test_right_after_a_kill_all_commands_say_the_same_and_wait_goes_on_to_the_end(left: tuple[Cli, str]) -> None:
    cli, queue_id = left
    up = f"streamforge up --data {cli.data} --exchange {cli.exchange}"
    advice = (
        f"{queue_id} is not driven: no manager runs on {cli.data}; continue it with `streamforge wait {queue_id} "
        f"--data {cli.data}`, `streamforge load BTCUSDT {TYPE} 2024-08 --data {cli.data} --exchange {cli.exchange}` "
        f"or `{up}`"
    )
    queues = cli("queues").ok()
    assert re.search(rf"^{queue_id} +running, not driven ", queues.out, re.MULTILINE)
    assert queues.err == f"{advice}\n"
    [found] = cli("queues", "--json").ok().json["queues"]
    assert found["undriven"] == f"no manager runs on {cli.data}"
    assert (found["progress"]["rate"], found["progress"]["eta_seconds"]) == (0.0, None)
    shown = cli("show", queue_id).ok()
    assert shown.out.startswith(f"{queue_id} running, not driven\n")
    assert advice in shown.out
    assert "/s" not in shown.out.replace(str(cli.data), "").replace(str(cli.exchange), "").partition("step")[0]
    assert " left" not in shown.out
    followed = cli("events", queue_id, "--follow").ok()
    assert followed.err == f"nothing more will come: {advice}\n"

    [queue] = cli("queues", "--json").ok().json["queues"]
    ran = cli("coverage", "BTCUSDT", TYPE, "--json")
    assert (ran.code, ran.json["complete"]) == (1, False)
    assert [s["verdict"] for s in ran.json["segments"]] == ["unknown"]
    [loaded] = ran.json["loading"]
    assert (loaded["queue_id"], loaded["status"]) == (queue_id, queue["status"])
    # Either says what the killed manager had written down, which may be less than it had told.
    assert loaded["records_stored"] == queue["progress"]["records_stored"]
    told = cli("coverage", "BTCUSDT", TYPE).err
    stored = f"{loaded['records_stored']:,} of 44,640 records stored, not proven yet"
    assert f"{queue_id} is to load 2024-08-01 to 2024-09-01 and has not ended (running, not driven): {stored}" in told
    assert f"not complete: wait for what is to be loaded with `streamforge wait {queue_id} --data {cli.data}`" in told
    exported = cli("export", queue_id)
    assert (exported.code, exported.out) == (1, "")
    assert exported.err == (
        f"streamforge: {queue_id} has not ended (running, not driven), and nothing of its range is proven yet: wait "
        f"for it with `streamforge wait {queue_id} --data {cli.data}`, then export it again\n"
    )
    assert "complete: no hole" not in told
    ranged = cli("export", "BTCUSDT", TYPE, "2024-08")
    assert (ranged.code, ranged.out) == (1, "")
    assert ranged.err == (
        f"streamforge: nothing of BTCUSDT {TYPE} 2024-08 is stored yet: {queue_id} is to load it and has not ended "
        f"(running, not driven); wait for it with `streamforge wait {queue_id} --data {cli.data}`, then export it "
        "again\n"
    )

    ran = cli("wait", queue_id, "--json").ok()
    assert "other workflows" not in ran.err, "it is the one that is waited for"
    assert (ran.json["queue_id"], ran.json["status"]) == (queue_id, "finished")
    assert cli("coverage", "BTCUSDT", TYPE).ok().err.endswith("complete: no hole\n")
    ended = cli("wait", queue_id).ok()
    assert "44,640 of 44,640 records stored, proven complete" in ended.out


@pytest.mark.e2e
async def test_no_manager_drives_it_while_a_command_only_keeps_others_out(left: tuple[Cli, str]) -> None:
    cli, queue_id = left
    async with session(Where(data=cli.data), Mode.CHANGE):
        assert data_folder(cli.data).held()
        found = [
            await asyncio.to_thread(completed, command, queue_id, "--data", str(cli.data), *more)
            for command, *more in (("show", "--json"), ("events", "--follow"))
        ]
    shown = found[0].json
    assert shown["undriven"] == f"no manager runs on {cli.data}"
    assert (shown["progress"]["rate"], shown["progress"]["eta_seconds"]) == (0.0, None)
    assert found[1].err.startswith(f"nothing more will come: {queue_id} is not driven: no manager runs on {cli.data}")


def test_to_make_room_is_not_to_drive(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = DataDirectory(cli.data)
    folder.open()
    seen: list[tuple[bool, bool]] = []

    async def tidy(_: WorkflowService) -> int:
        seen.append((folder.held(), folder.driven()))
        return 0

    monkeypatch.setattr(WorkflowService, "tidy", tidy)
    cli("queues").ok()
    assert seen == [(True, False)]


@pytest.mark.long
def test_the_same_load_goes_on_with_it_and_loads_nothing_twice(left: tuple[Cli, str]) -> None:
    cli, queue_id = left
    ran = cli("load", *MONTH).ok()
    assert f"{queue_id} is under way already and loads just that; waiting for it" in ran.err
    assert ran.out.startswith(f"{queue_id} finished in ")
    assert [q["queue_id"] for q in cli("queues", "--json").json["queues"]] == [queue_id]


@pytest.mark.long
def test_what_is_under_way_at_a_server_is_waited_for_and_left_to_it(tmp_path: Path, slow_url: str) -> None:
    data = tmp_path / "data"
    with manager(data, slow_url) as (_, ready):
        where = ("--data", str(data))
        with loading(data, slow_url, what=DECADE) as first:
            queue_id = line(first, " of 2,103,840").partition(":")[0]
            for command in (("wait", queue_id, *where), ("load", *DECADE, *where)):
                with process(*command) as second:
                    line(second, "running, ")
                    second.send_signal(signal.SIGINT)
                    ran = finished(second)
                assert (ran.code, ran.out) == (130, "")
                assert f"the manager at {ready['url']} continues {queue_id} (running)" in ran.err
            with process("wait", queue_id, *where, "--timeout", "0.1") as late:
                ran = finished(late)
            assert (ran.code, ran.out) == (1, "")
            assert f"the time is over; the manager at {ready['url']} continues {queue_id}" in ran.err
            first.send_signal(signal.SIGINT)
            assert finished(first).code == 130  # what this one began it stops
        with process("wait", queue_id, *where, "--json") as ended:
            ran = finished(ended)
        assert (ran.code, json.loads(ran.out)["status"]) == (1, "interrupted")
    until(lambda: not of_data(data))


@pytest.mark.e2e
@pytest.mark.parametrize("left", [DECADE], indirect=True)  # it does not end before it is stopped
def test_a_workflow_that_only_this_command_drives_is_stopped_by_it(left: tuple[Cli, str]) -> None:
    cli, queue_id = left
    with process("wait", queue_id, "--data", str(cli.data), "--json") as waiting:
        line(waiting, "running, ")
        waiting.send_signal(signal.SIGINT)
        ran = finished(waiting)
    assert (ran.code, ran.json["status"]) == (130, "interrupted")
    known = cli("coverage", "BTCUSDT", TYPE, "--json").json
    assert (known["complete"], known["segments"][-1]["verdict"]) == (False, "unknown")
    assert known["span"]["end"] == "2024-01-01T00:00:00Z"


@pytest.mark.e2e
def test_topics_of_ended_workflows_are_removed_by_the_next_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = cli.load("BTCUSDT", TYPE, "2024-08-01:2024-08-01T01:00Z")
    folder = cli.data / "bus" / "topics" / f"{loaded['queue_id']}-data"
    assert "removed" not in cli("queues").ok().err
    assert folder.exists()
    [bus] = [check for check in cli("doctor", "--json").json["checks"] if check["part"] == "bus"]
    assert re.search(r"topics of 1 ended workflow take [\d.]+ [kM]B; they are kept for a while ", bus["detail"])
    saved = cli("backup", str(cli.data.parent / "first")).ok()
    assert "the copy holds all topics; topics of 1 ended workflow take 2" in saved.err
    monkeypatch.setenv("STREAMFORGE_TOPIC_RETENTION_SECONDS", "0.001")
    assert "topics" not in cli("queues").ok().err, "who asks something else is not told that they are removed"
    assert not folder.exists()
    assert "removed" not in cli("queues").ok().err


def test_what_a_joined_workflow_does_not_load_is_told() -> None:
    workflow = workflow_answer(
        span=("2024:", 1_704_067_200_000, 1_722_470_400_000), status="running", type=TYPE, joined=True
    )
    began = f"{workflow.queue_id} is under way already"
    what = f"BTCUSDT {TYPE} 2024-01-01 to 2024-08-01 (asked for 2024:)"
    assert description(workflow) == f"{began} and loads just that; waiting for it: {what}"
    behind = msgspec.structs.replace(workflow, behind_seconds=7200.0, asked_range="2024-01-01:2024-08-01T02:00Z")
    assert description(behind) == (
        f"{began}; waiting for it: {what}; what it leaves out until 2024-08-01T02:00Z, if anything, is loaded once it "
        "has ended"
    )
    planned = msgspec.structs.replace(behind, progress=answers.Progress(records_expected=306_720))
    assert description(planned) == (
        f"{began}; waiting for it: {what}; what it leaves out, 2024-08-01 to 2024-08-01T02:00Z, is loaded once it has "
        "ended"
    )
    same = msgspec.structs.replace(planned, behind_seconds=0.0, asked_range="2024-01-01T01:00Z:2024-08-01")
    assert description(same) == f"{began} and loads just that; waiting for it: {what}"


def test_a_load_of_the_same_is_no_advice_for_what_is_stopping(tmp_path: Path) -> None:
    workflow = workflow_answer(status="stopping", type=TYPE, undriven="no manager runs on /d")
    assert undriven(workflow, Where(data=tmp_path)) == (
        "wf-1 is not driven: no manager runs on /d; bring it to its end with "
        f"`streamforge wait wf-1 --data {tmp_path}` or `streamforge up --data {tmp_path}`"
    )
    assert undriven(workflow, Where(data=tmp_path), "http://127.0.0.1:8080") == (
        "wf-1 is not driven: no manager runs on /d; see the log of the manager at http://127.0.0.1:8080, or restart it"
    )


def test_all_that_no_manager_drives_are_named(tmp_path: Path) -> None:
    alone = workflow_answer(status="running", type=TYPE, undriven="no manager runs on /d")
    listed = [msgspec.structs.replace(alone, queue_id=f"wf-{number}") for number in range(8)]
    where = Where(data=tmp_path)
    assert all_undriven(listed[:1], where) == undriven(listed[0], where)
    first, others = all_undriven(listed[:2], where).split("\n")
    assert first == undriven(listed[0], where)
    assert others == f"wf-1 is not driven either; `streamforge up --data {tmp_path}` continues all of them"
    _, others = all_undriven(listed, where, "http://127.0.0.1:8080").split("\n")
    assert others == "wf-1, wf-2, wf-3, wf-4, wf-5, … are not driven either"
