"""A load of many symbols, and the commands `batch`: what they say, and their exit codes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.cli.batch_follower import numbers
from streamforge.cli.batch_outcome import LoadedBatch, rows
from streamforge.cli.command_errors import CliError
from streamforge.cli.commands.batch_commands import batch_list, batch_retry, batch_show, batch_stop, load_many
from streamforge.manager.batches import answers as batch_answers
from streamforge.manager.batches.service import View
from streamforge.manager.engine.document import Status
from streamforge_utils.ports.exchange import SymbolInfo
from tests.cli.support import HOUR, TYPE, YEARS, Cli, finished, line, loading, serving
from tests.manager.batches.batch_world import EXPECTED, end, live, look
from tests.manager.memory_service import MemoryService

HOW: dict[str, Any] = {
    "listed_at": None,
    "again": False,
    "skip_unknown": False,
    "source": None,
    "labels": {},
    "detach": False,
    "timeout_s": None,
    "as_json": False,
}


@pytest.mark.e2e
def test_a_pattern_is_loaded_listed_shown_and_forgotten(cli: Cli) -> None:
    ran = cli("load", "[BO]*USDT,btcusdt", TYPE, HOUR).ok()
    batch_id = ran.out.split()[0]
    assert ": 3 symbols, 1 of them delisted, api_candles_1m 2024-08-01 to 2024-08-01T01:00Z; named again and" in ran.err
    told = ran.out.splitlines()
    assert ": 3 of 3 symbols proven, 120 of 120 records stored, 1 of the symbols delisted" in told[0]
    assert [one.split()[:2] for one in told[3:]] == [["finished", "2"], ["closed", "1"]]
    assert told[4].endswith("proven: the exchange has nothing in the range")
    listed = cli("batch", "list").ok().out
    assert batch_id in listed
    again = cli("load", "B*USDT", TYPE, HOUR, "--json").ok().json
    assert (again["records_stored"], again["records_there"], again["counts"]["finished"]) == (120, 120, 2)
    shown = cli("batch", "show", batch_id, "--members").ok().out
    assert "OLDUSDT (delisted)" in shown
    assert "there is nothing to load in the range" in shown
    assert {one["batch"] for one in cli("queues", "--json").ok().json["queues"]} == {batch_id, again["batch_id"]}
    assert cli("batch", "wait", batch_id).ok().out.startswith(f"{batch_id} finished")
    assert cli("batch", "rm", batch_id, "--yes").ok().out == (
        f"{batch_id} is removed; its workflows and their records stay\n"
    )
    assert cli("batch", "show", batch_id).code == 1


@pytest.mark.long
def test_since_last_of_many_goes_on_from_each_symbols_own_end(cli: Cli) -> None:
    cli("load", "BTCUSDT", TYPE, HOUR).ok()
    ran = cli("load", "BTCUSDT,ETHUSDT", "api_candles_1w", "--since", "last", "--from", "2024-08-01", "--json")
    first = ran.ok().json
    assert (first["status"], first["counts"]["finished"]) == ("finished", 2)
    again = cli("load", "BTCUSDT,ETHUSDT", "api_candles_1w", "--since", "last").ok()
    assert "2 symbols, api_candles_1w since last" in again.err
    assert [one.split(maxsplit=2) for one in again.out.splitlines()[3:]] == [["closed", "2", "proven: up to date"]]
    ran = cli("load", "BTCUSDT,ETHUSDT", TYPE, "--since", "last", "--dry-run", "--json").ok()
    assert (ran.json["refused"], ran.json["each"][0]["symbol"]) == (1, "ETHUSDT")
    told = "or give a start with `from`", "or give a start with `--from START`"
    assert (told[0] in ran.json["each"][0]["note"], told[1] in ran.json["each"][0]["note"]) == (True, False)
    ran = cli("load", "BTCUSDT,ETHUSDT", TYPE, "--since", "last")
    assert (ran.code, told[1] in ran.out, told[0] in ran.out) == (1, True, False), ran.out
    shown = cli("batch", "show", ran.out.split()[0], "--members").ok().out
    assert told[1] in " ".join(shown.split())
    looked_at = cli("load", "BTCUSDT,ETHUSDT", TYPE, "--since", "last", "--dry-run").ok().out
    assert told[1] in " ".join(looked_at.split())


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("symbols", "more", "code", "said"),
    [
        ("BTCUSDT,ETHUSTD", (), 2, "1 of 2 is not a symbol of"),
        ("*EUR", (), 2, "fits the pattern '*EUR'"),
        ("@/nowhere.txt", (), 2, "cannot be read"),
        ("BTCUSDT", ("--listed-at", "2021-01-01"), 2, "--listed-at is for many symbols"),
        ("*USDT", ("--listed-at", "2021"), 2, "listed_at '2021' is no day"),
        ("*USDT", ("--since", "last"), 2, "TIME_RANGE and --since are two ranges"),
        ("*USDT", ("--from", "2024"), 2, "--from is for --since last"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_begins(
    cli: Cli, symbols: str, more: tuple[str, ...], code: int, said: str
) -> None:
    ran = cli("load", symbols, TYPE, HOUR, *more)
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert "did you mean ETHUSDT?" in ran.err or "ETHUSTD" not in ran.err


@pytest.mark.e2e
def test_with_a_wish_for_it_what_nobody_has_is_left_out_and_named(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("BTCUSDT  # the first\nETHUSTD\n")
    refused = cli("load", f"@{file}", TYPE, HOUR)
    assert (refused.code, "; `--skip-unknown` loads the others" in refused.err) == (2, True), refused.err
    planned = cli("load", f"@{file}", TYPE, HOUR, "--skip-unknown", "--dry-run").ok()
    assert "careful: left out, as the exchange has no such symbol: ETHUSTD\n" in planned.err
    ran = cli("load", f"@{file}", TYPE, HOUR, "--skip-unknown").ok()
    assert ": 1 symbol, api_candles_1m" in ran.err
    assert "; not loaded, as the exchange has no such symbol: ETHUSTD\n" in ran.err
    alone = cli("load", "BTCUSDT", TYPE, HOUR, "--skip-unknown")
    assert (alone.code, "--skip-unknown is for many symbols" in alone.err) == (2, True)


def answer(*, status: str = "running", **counts: int) -> batch_answers.Batch:
    """A batch as the API answers it."""
    span = {"requested": "2024-08", "start": "", "end": "", "start_ms": 0, "end_ms": 1}
    links = dict.fromkeys(batch_answers.BatchLinks.__struct_fields__, "/")
    found: dict[str, Any] = {
        "batch_id": "b",
        "type": TYPE,
        "symbols": "*USDT",
        "created_at": "2024-08-01T00:00:00Z",
        "progress": {},
    }
    found |= {"status": status, "time_range": span, "links": links, "size": sum(counts.values()), "counts": counts}
    return msgspec.convert(found, batch_answers.Batch)


def test_what_is_not_proven_yet_says_how_far_it_is() -> None:
    assert rows(answer(running=1, pending=2, waiting=3)) == [
        ("running", "1", "not proven yet"),
        ("pending", "2", "not proven yet: their workflows are made and have not begun"),
        ("waiting", "3", "not proven yet: their workflows are still to be made or retried"),
    ]


def test_members_that_were_stopped_have_not_failed() -> None:
    ended, going_on = (answer(status=one, finished=11, error=1, interrupted=30) for one in ("error", "running"))
    assert numbers(ended) == "11 of 42 symbols proven, 1 failed, 30 stopped, 0 records"
    assert numbers(going_on) == "42 of 42 symbols (0 %), 1 failed, 30 stopped, 0 records"


class Ending(MemoryService):
    """A manager whose batches go on by one workflow whenever somebody looks; each ends as `ends` says."""

    ends: list[Status]

    @classmethod
    async def of(cls, *ends: Status) -> Ending:
        service = await cls.made()
        service.ends = list(ends)
        names = ("ETHUSDT", "SOLUSDT", "XRPUSDT")
        service.exchange.listed = [SymbolInfo(symbol=name, status="TRADING") for name in names]
        get = service.batches.get

        async def going_on(batch: str) -> View:
            await look(service.world)
            for one in [one for one in live(service.world) if one.stop_asked_ms is not None]:
                await end(service.world, [one], Status.INTERRUPTED, stored=0)
            if service.ends and (going := live(service.world)):
                await end(service.world, going[:1], service.ends.pop(0))
            await look(service.world)
            return await get(batch)

        vars(service.batches)["get"] = going_on
        return service


@pytest.mark.e2e
async def test_a_batch_with_a_failure_says_why_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    service = await Ending.of(Status.FINISHED, Status.ERROR, Status.FINISHED)
    async with serving(service) as where:
        with pytest.raises(CliError) as failed:
            await load_many("*USDT", TYPE, "2024-08-01", where, **HOW)
        out = capsys.readouterr().out
        batch_id = out.split()[0]
        assert f"2 of 3 symbols proven, {3 * EXPECTED:,} of {3 * EXPECTED:,} records stored" in out
        assert out.splitlines()[-1].split(maxsplit=2) == ["error", "1", "not proven: the store is full (SOLUSDT)"]
        assert failed.value.exit_code == 1
        assert str(failed.value).startswith(
            f"1 of 3 symbols are not proven: go on with `streamforge batch retry {batch_id}"
        )
        service.ends = [Status.FINISHED]
        assert await batch_retry(batch_id, where) == 0
        assert "3 of 3 symbols proven" in capsys.readouterr().out
        assert await batch_show(batch_id, where) == 0
        assert "3 of 3 symbols proven" in capsys.readouterr().out


async def test_a_stopped_batch_is_awaited(capsys: pytest.CaptureFixture[str]) -> None:
    service = await Ending.of()
    async with serving(service) as where:
        assert await load_many("ETHUSDT,SOLUSDT", TYPE, "2024-08-01", where, **{**HOW, "detach": True}) == 0
        said = capsys.readouterr()
        batch_id = said.out.strip()
        assert f"follow it with: streamforge batch wait {batch_id}" in said.err
        assert await batch_stop(batch_id, where) == 0
        assert capsys.readouterr().out == f"{batch_id} is interrupted\n"
        assert await batch_list(where) == 0
        head, _, row = capsys.readouterr().out.splitlines()
        assert head.split()[2:6] == ["symbols", "proven", "failed", "stopped"]
        assert row.split()[1:6] == ["interrupted", "2", "0", "0", "2"]


@pytest.mark.e2e
def test_ctrl_c_stops_a_batch_in_order_and_says_how_to_go_on(tmp_path: Path, slow_url: str) -> None:
    what = ("BTCUSDT,ETHUSDT", TYPE, YEARS)
    with loading(tmp_path / "data", slow_url, what=what) as started:
        batch_id = line(started, "2 symbols").partition(":")[0]
        line(started, "2 running")
        started.send_signal(signal.SIGINT)
        ran = finished(started)
    assert ran.code == 130, ran.err
    assert f"{batch_id} was stopped (interrupted): go on with `streamforge batch retry {batch_id}" in ran.err
    assert "interrupted         2   not proven: its workflow was stopped (BTCUSDT, ETHUSDT)" in ran.out


def test_what_is_no_member_though_it_was_asked_for_is_told_at_the_end() -> None:
    batch = msgspec.structs.replace(
        answer(status="finished", finished=2),
        left_out=1,
        left_out_first=["GONEUSDT"],
        unknown=1,
        unknown_first=["ETHUSTD"],
        archive_silence="which symbols only the archive has is not known: HTTP 503",
    )
    assert rows(batch)[1:] == [
        ("left out", "1", "not loaded: only the archive has them (GONEUSDT)"),
        ("unknown", "1", "not loaded: the exchange has no such one (ETHUSTD)"),
        (
            "unknown",
            "?",
            "perhaps not loaded: which symbols only the archive has is not known: HTTP 503; load it again",
        ),
    ]
    told = msgspec.to_builtins(LoadedBatch.of(batch))
    assert (told["left_out"], told["unknown"]) == (1, 1)
    assert "HTTP 503" in told["archive_silence"]
