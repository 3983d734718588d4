"""The commands of schedules, on a manager in this process; and what `doctor` says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamforge.cli.checks.place_checks import Subject
from streamforge.cli.checks.schedule_check import check_schedules
from streamforge.cli.client import Api
from streamforge.cli.command_errors import ApiProblem, UsageProblem
from streamforge.cli.commands import schedule_commands as commands
from streamforge.cli.session import Where
from streamforge.manager.engine.document import Status
from streamforge_utils.model.errors import RetryableError
from tests.cli.support import Cli, serving
from tests.manager.memory_service import MemoryService

LINES = pytest.CaptureFixture[str]


async def add(where: Where, **options: object) -> int:
    given = {"cron": "0 * * * *", "first": "2024", **options}
    return await commands.schedule_add("hourly", "BTCUSDT", "api_candles_1m", where, **given)  # type: ignore[arg-type]


async def run_once(service: MemoryService, status: Status) -> None:
    """The schedule fires, and its workflow ends so."""
    service.clock.advance(3600)
    service.exchange.now_ms = service.clock.now_ms()
    for _ in range(3):
        await service.schedules.driver.turn()
    for queue_id in await service.ids():
        if not (await service.get(queue_id)).ended:
            await service.end(queue_id, status)
    await service.schedules.driver.turn()


async def test_a_schedule_from_its_making_to_its_end(capsys: LINES) -> None:
    service = await MemoryService.made()
    service.schedules.driver.fires = True
    async with serving(service) as where:
        assert await commands.schedule_list(where) == 0
        assert "there is no schedule" in capsys.readouterr().err
        assert await add(where) == 0
        assert capsys.readouterr().out == "hourly fires next at 2024-08-02 13:00:00 (UTC)\n"
        await run_once(service, Status.FINISHED)
        assert await commands.schedule_list(where) == 0
        (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hourly")]
        shown = "hourly BTCUSDT api_candles_1m 0 * * * * UTC 2024-08-02 14:00:00 2024-08-02 13:00:00 finished"
        assert row.split() == shown.split()
        assert await commands.schedule_run("hourly", where) == 0
        assert capsys.readouterr().out == "run 2 of hourly has begun\n"
        await run_once(service, Status.ERROR)
        assert await commands.schedule_show("hourly", where) == 0
        out = capsys.readouterr().out
        assert "hourly: BTCUSDT api_candles_1m, since last, of a new series from 2024" in out
        assert "by hand" in out
        assert await commands.schedule_show("hourly", where, as_json=True) == 0
        shown_json = json.loads(capsys.readouterr().out)
        assert [run["state"] for run in shown_json["runs"]][-2:] == ["error", "finished"]
        assert await commands.schedule_change("hourly", where, source="rest") == 0
        assert await commands.schedule_show("hourly", where) == 0
        assert "of a new series from 2024, source rest\n" in capsys.readouterr().out
        assert await commands.schedule_pause("hourly", where) == 0
        assert await commands.schedule_list(where, as_json=True) == 0
        out = capsys.readouterr().out
        assert out.startswith("hourly is paused\n")
        assert json.loads(out.partition("\n")[2])["schedules"][0]["paused"] is True
        assert await commands.schedule_resume("hourly", where) == 0
        capsys.readouterr()
        with pytest.raises(
            UsageProblem, match="schedule rm asks before it removes, and there is no terminal to answer"
        ):
            await commands.schedule_rm("hourly", where)
        assert await commands.schedule_rm("hourly", where, yes=True) == 0
        assert capsys.readouterr().out == "hourly is removed; its workflows and their records stay\n"
        with pytest.raises(ApiProblem, match=r"schedule hourly was removed by loopback at 2024-08-02T14:00:00\.\d+Z"):
            await commands.schedule_show("hourly", where)


async def test_a_run_that_ends_while_it_is_asked_for_is_shown_once(
    capsys: LINES, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await MemoryService.made()
    service.schedules.driver.fires = True
    call = Api.call

    async def ending(api: Api, method: str, path: str, **more: Any) -> bytes:
        if path.endswith("/runs"):
            await run_once(service, Status.FINISHED)
        return await call(api, method, path, **more)

    async with serving(service) as where:
        await add(where)
        await commands.schedule_run("hourly", where)
        capsys.readouterr()
        monkeypatch.setattr(Api, "call", ending)
        assert await commands.schedule_show("hourly", where) == 0
        assert capsys.readouterr().out.count("by hand") == 1


async def test_what_is_named_of_a_schedule_is_changed(capsys: LINES) -> None:
    service = await MemoryService.made()
    service.schedules.driver.fires = True
    async with serving(service) as where:
        await add(where)
        with pytest.raises(ApiProblem, match="change that one \\(`streamforge schedule change NAME`\\), remove it"):
            await add(where, cron="5 0 * * *")
        assert await commands.schedule_change("hourly", where, cron="30 * * * *", time_range="yesterday") == 0
        assert capsys.readouterr().out.endswith("hourly is changed and fires next at 2024-08-02 12:30:00 (UTC)\n")
        assert await commands.schedule_show("hourly", where) == 0
        out = capsys.readouterr().out
        assert "hourly: BTCUSDT api_candles_1m, yesterday\n  at 30 * * * * (UTC); missed times: catch-up\n" in out
        await commands.schedule_pause("hourly", where)
        assert await commands.schedule_change("hourly", where, missed="skip") == 0
        assert capsys.readouterr().out == "hourly is paused\nhourly is changed\n"
        with pytest.raises(UsageProblem, match="nothing is to be changed: name it"):
            await commands.schedule_change("hourly", where)
        with pytest.raises(UsageProblem, match="--since and --range are two ranges"):
            await commands.schedule_change("hourly", where, since="last", time_range="-1d")


async def test_what_the_exchange_does_not_know_is_refused_and_its_silence_is_told(capsys: LINES) -> None:
    service = await MemoryService.made()
    service.schedules.driver.fires = True
    async with serving(service) as where:
        with pytest.raises(ApiProblem, match="1 of 1 is not a symbol of the exchange"):
            await commands.schedule_add("x", "BTCUSDX", "api_candles_1m", where, cron="0 * * * *", first="2024")
        assert capsys.readouterr().err == ""
        assert await add(where) == 0
        assert "careful" not in capsys.readouterr().err
        with pytest.raises(ApiProblem, match="is not a symbol of the exchange"):
            await commands.schedule_change("hourly", where, symbols="BTCUSDX")
        service.exchange.failing = RetryableError("no connection")
        assert await commands.schedule_change("hourly", where, symbols="BTCUSDX") == 0
        told = "careful: whether the exchange has BTCUSDX is not known: no connection; a symbol that it does not have"
        assert capsys.readouterr().err.startswith(told)
        assert await commands.schedule_change("hourly", where, cron="1 * * * *") == 0
        assert capsys.readouterr().err == "", "of the symbols nothing was asked"


async def test_two_ranges_are_refused() -> None:
    with pytest.raises(UsageProblem, match="--since and --range are two ranges"):
        await add(Where(server="http://nobody.invalid"), since="last", time_range="-1d")


async def test_doctor_names_what_is_overdue_or_fails(tmp_path: Path) -> None:
    service = await MemoryService.made()
    service.schedules.driver.fires = True
    async with serving(service) as where:
        subject = Subject(where, tmp_path, tmp_path)
        assert [one async for one in check_schedules(subject)] == []
        await add(where)
        (found,) = [one async for one in check_schedules(subject)]
        assert (found.verdict, found.detail) == ("works", "1 schedule, none is overdue")
        for _ in range(3):
            await run_once(service, Status.ERROR)
        (found,) = [one async for one in check_schedules(subject)]
        assert (found.verdict, found.part) == ("careful", "schedules")
        assert found.detail.startswith("hourly: its last 3 runs failed, the latest with: BTCUSDT: error")
        assert found.next_step == f"see `streamforge schedule show hourly --server {where.server}`"


@pytest.mark.e2e
def test_without_a_manager_a_schedule_can_be_changed_and_says_that_nothing_fires_it(
    capsys: LINES, tmp_path: Path
) -> None:
    cli = Cli(capsys, tmp_path / "data", "test")
    cli("load", "BTCUSDT", "api_candles_1h", "2024-08-01").ok()
    ran = cli("schedule", "add", "nightly", "BTCUSDT", "api_candles_1h", "--cron", "5 0 * * *").ok()
    assert "no manager runs here: `streamforge up" in ran.err
    assert "careful" not in ran.err
    refused = cli("schedule", "add", "none", "NOSUCHUSDT", "api_candles_1h", "--cron", "5 0 * * *", "--from", "2024")
    assert (refused.code, "is not a symbol of the test exchange" in refused.err) == (2, True)
    assert cli("schedule", "pause", "nightly").ok().out == "nightly is paused\n"
    (listed,) = cli("schedule", "list", "--json").ok().json["schedules"]
    assert (listed["paused"], listed["since"]) == (True, "last")
    assert cli("schedule", "run", "nightly").code != 0
    assert cli("schedule", "add", "x", "BTCUSDT", "api_candles_1h", "--cron", "0 0 30 2 *").err.startswith(
        "streamforge: cron '0 0 30 2 *' never fires"
    )
