"""load: what it leaves, what it says, its exit codes, and ranges relative to now."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge.cli import session, terminal
from streamforge.manager.engine.persistence.workflow_store import WorkflowStore
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from streamforge_utils.model.timeranges import format_ms, parse_time_range
from streamforge_utils.runtime.life.settings import DataSettings
from tests.cli import support
from tests.cli.support import COLLECTION, HOUR, HOUR_MS, START_MS, TYPE, Cli, exchange, finished, process, until
from tests.manager.support import accepted

pytestmark = pytest.mark.e2e

FURTHER = ("time_range", "records_there", "coverage", "seconds", "joined", "behind_seconds", "asked_range")


def test_a_load_ends_with_one_object_that_tells_all(cli: Cli) -> None:
    ran = cli("load", "btcusdt", TYPE, HOUR, "--json").ok()
    assert ran.out.count("\n") == 1
    found = ran.json
    assert set(found) == {"queue_id", "status", "records_expected", "records_stored", *FURTHER}
    assert found["queue_id"].startswith("wf-btcusdt-api_candles_1m-20240801-")
    assert (found["status"], found["records_expected"], found["records_stored"]) == ("finished", 60, 60)
    assert found["records_there"] == 0
    assert found["seconds"] > 0
    assert found["coverage"] == [
        {
            "start": "2024-08-01T00:00:00Z",
            "end": "2024-08-01T01:00:00Z",
            "start_ms": START_MS,
            "end_ms": START_MS + HOUR_MS,
            "verdict": "stored",
            "collection": COLLECTION,
            "records": 60,
        }
    ]
    assert f"{found['queue_id']}: BTCUSDT api_candles_1m 2024-08-01 to 2024-08-01T01:00Z" in ran.err


def test_only_what_coverage_lacks_is_loaded_unless_again(cli: Cli) -> None:
    cli.load("BTCUSDT", TYPE, HOUR)
    nothing = cli("load", "BTCUSDT", TYPE, HOUR).ok()
    assert "finished" in nothing.out
    assert "nothing was left to load" in nothing.out
    assert "stored    2024-08-01 to 2024-08-01T01:00Z: 60 records in btcusdt_api_candles_1m_2024_08_01" in nothing.out
    rest = cli.load("BTCUSDT", TYPE, "2024-08-01:2024-08-01T01:30Z")
    assert (rest["records_expected"], rest["records_stored"], rest["records_there"]) == (90, 90, 60)
    more = cli("load", "BTCUSDT", TYPE, "2024-08-01:2024-08-01T02:00Z").ok()
    assert more.out.splitlines()[0].endswith("120 of 120 records stored (90 of them before), proven complete")
    again = cli.load("BTCUSDT", TYPE, "2024-08-01:2024-08-01T01:30Z", "--again")
    assert (again["records_expected"], again["records_stored"]) == (90, 90)


def test_other_workflows_of_the_data_go_on_and_are_named(cli: Cli) -> None:
    assert "other workflows" not in cli("load", "BTCUSDT", TYPE, HOUR).ok().err
    left = accepted(created_ms=1, symbol="ETHUSDT", time_range=HOUR)

    async def leave() -> None:
        store = EmbeddedStore(cli.data / "store")
        await WorkflowStore(store).create(left)
        await store.close()

    asyncio.run(leave())
    ran = cli("load", "BTCUSDT", TYPE, "2024-08-02").ok()
    said = "other workflows that have not ended; they go on for as long as this command runs"
    assert f"{said}: {left.queue_id}" in ran.err
    for day in range(3, 20):  # every manager that comes continues it
        if cli("show", left.queue_id, "--json").json["status"] == "finished":
            break
        cli("load", "BTCUSDT", TYPE, f"2024-08-{day:02d}").ok()
    assert cli("show", left.queue_id, "--json").json["status"] == "finished"


def test_holes_of_the_exchange_are_named_and_still_finished(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with exchange("--hole", "BTCUSDT@2024-08-01T00:10Z:2024-08-01T00:13Z") as url:
        cli = Cli(capsys, tmp_path / "data", url)
        ran = cli("load", "BTCUSDT", TYPE, HOUR).ok()
        assert "57 of 60 records stored, the rest is accounted for below" in ran.out
        hole = "exchange  2024-08-01T00:10Z to 2024-08-01T00:13Z: asked twice: the exchange has none"
        assert hole in ran.out
        exported = cli("export", "BTCUSDT", TYPE, HOUR)
        assert exported.out.count("\n") == 58
        assert "hole: 2024-08-01T00:10Z to 2024-08-01T00:13Z: exchange" in exported.err
        assert cli("coverage", "BTCUSDT", TYPE, HOUR).code == 0


def test_before_listing_there_is_nothing_and_that_is_said(cli: Cli) -> None:
    found = cli.load("NEWUSDT", TYPE, "2024-03-15:2024-03-15T11:00Z")
    assert [segment["verdict"] for segment in found["coverage"]] == ["closed", "stored"]
    assert found["coverage"][1]["start"] == "2024-03-15T10:07:00Z"
    assert found["records_stored"] == 53
    ran = cli("load", "NEWUSDT", TYPE, "2024-03-14").ok()
    assert "the exchange has nothing in this range\n" in ran.out
    assert "nothing was left to load" not in ran.out
    one = cli("load", "NEWUSDT", TYPE, "2024-03-15T11:00Z:2024-03-15T11:01Z").ok()
    assert "1 of 1 record stored, proven complete" in one.out


def test_a_load_of_the_built_in_test_exchange_brings_and_ends_it(cli: Cli) -> None:
    ran = cli("load", "BTCUSDT", TYPE, HOUR, "--exchange", "test", "--data", str(cli.data), "--json", where=False).ok()
    assert ran.json["records_stored"] == 60
    assert json.loads((cli.data / "origin.json").read_text()) == {"exchange": "test", "choice": "test"}


def test_a_load_that_takes_too_long_is_stopped_in_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with exchange("--fault", "slow:ms=400,path=klines") as url:
        cli = Cli(capsys, tmp_path / "data", url)
        ran = cli("load", "BTCUSDT", TYPE, "2024-01:2024-08", "--timeout", "2.5", "--json")
        assert ran.code == 1
        found = ran.json
        assert found["status"] == "interrupted"
        # A busy machine may not even have planned it by then.
        assert found["records_expected"] is None or found["records_stored"] < found["records_expected"]
        assert found["coverage"][-1]["verdict"] == "unknown"
        assert f"{found['queue_id']} was not finished in time and was stopped (interrupted): go on with" in ran.err
        assert f"`streamforge retry {found['queue_id']} --data {cli.data} --exchange {url}`" in ran.err


@pytest.mark.long
def test_a_retry_goes_on_at_the_same_exchange_and_tells_what_was_there_before(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with exchange("--fault", "stall:seconds=60,path=klines,after=20") as url:
        cli = Cli(capsys, tmp_path / "data", url)
        with process("load", "BTCUSDT", TYPE, "2024-08", "--data", str(cli.data), "--exchange", url) as started:
            until(lambda: cli.stored() >= 10_000)
            started.send_signal(signal.SIGINT)
            assert finished(started).code == 130
        before = cli.stored()
        support.lift_faults(url)
        [queue] = cli("queues", "--json").ok().json["queues"]
        ran = cli("retry", queue["queue_id"]).ok()
    assert f"44,640 of 44,640 records stored ({before:,} of them before), proven complete" in ran.out


def test_a_file_in_the_place_of_the_folder_is_named_as_one(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("x")
    for data in (file, file / "below"):
        ran = cli("load", "BTCUSDT", TYPE, HOUR, "--exchange", "test", "--data", str(data), where=False)
        assert ran.code == 2
        assert f"the data directory {data} cannot be used ({file} is a file): choose another with --data" in ran.err


def test_a_load_that_reached_nobody_says_what_it_waited_for_and_what_was_stored_before(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.load("BTCUSDT", TYPE, HOUR)
    monkeypatch.setattr(terminal, "LATE_S", 0.0)
    monkeypatch.setenv("STREAMFORGE_REQUEST_ATTEMPTS", "1")
    monkeypatch.setenv("STREAMFORGE_MAX_ASKING_FAILURES", "1")
    what = ("load", "BTCUSDT", TYPE, "2024-08-01:2024-08-01T02:00Z", "--data", str(cli.data))
    away = cli(*what, "--exchange", "http://127.0.0.1:9", "--json", where=False)
    assert away.code == 1
    assert away.err.startswith("waiting for the manager, which asks the exchange first\n")
    assert (away.json["records_expected"], away.json["records_stored"], away.json["records_there"]) == (None, 60, 60)
    assert [(s["verdict"], s["records"]) for s in away.json["coverage"]] == [("stored", 60), ("unknown", 0)]
    told = cli("retry", away.json["queue_id"], "--exchange", "http://127.0.0.1:9", "--data", str(cli.data), where=False)
    assert "nothing was loaded, 60 records stored before\n" in told.out
    assert "stored    2024-08-01 to 2024-08-01T01:00Z: 60 records in" in told.out


def test_a_folder_that_somebody_holds_is_waited_for_with_a_word(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.data.mkdir()
    monkeypatch.setattr(terminal, "LATE_S", 0.0)
    monkeypatch.setattr(session, "HELD_S", 1.0)
    with wiring.make_data_directory(DataSettings(data_dir=cli.data)).lock():
        ran = cli("load", "BTCUSDT", TYPE, HOUR)
    waiting = f"waiting up to 1 s for the manager that holds {cli.data} and does not answer yet\n"
    assert (ran.code, ran.err.count(waiting)) == (2, 1)
    assert ran.err.startswith(waiting)


def test_without_a_manager_nothing_can_be_detached(cli: Cli) -> None:
    ran = cli("load", "BTCUSDT", TYPE, HOUR, "--detach")
    assert ran.code == 1
    advice = f"streamforge up --data {cli.data} --exchange {cli.exchange}"
    assert f"no manager runs on {cli.data}: start one with `{advice}`" in ran.err
    assert not cli.data.exists()


def test_progress_is_plain_lines_where_there_is_no_terminal(cli: Cli) -> None:
    ran = cli("load", "BTCUSDT", TYPE, "2024-08-01:2024-08-03").ok()
    assert "\x1b" not in ran.out + ran.err
    assert "running, " in ran.err
    first = ran.out.splitlines()[0]
    assert first.endswith("2,880 of 2,880 records stored, proven complete")


@pytest.mark.parametrize("size", ["100", "30"])
def test_on_a_terminal_there_is_a_bar_that_fits_and_goes(cli: Cli, size: str) -> None:
    written = support.on_a_terminal(
        [*support.COMMAND, "load", "BTCUSDT", TYPE, "2024-08-01:2024-08-03", "--exchange", "test"],
        STREAMFORGE_DATA_DIR=str(cli.data),
        COLUMNS=size,
        **({"NO_COLOR": "1"} if size == "30" else {}),
    )
    assert "━" in written
    assert ("\x1b[36m" in written) is (size == "100")
    assert "2,880" in written
    assert "stored, proven complete" in " ".join(written.split())


@pytest.fixture
def at_six(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Cli]:
    """The command, and an exchange at six in the morning, whose clock goes on for 18 h within the same candle."""
    with exchange("--now", "2024-08-01T06:00:00") as url:
        yield Cli(capsys, tmp_path / "data", url)


def test_a_clipped_range_shows_both_ends(at_six: Cli) -> None:
    what = ("load", "BTCUSDT", "api_candles_1d", "2024-07-30:2024-08-03")
    ran = at_six(*what, "--json").ok()
    assert "(asked for 2024-07-30:2024-08-03, the end is brought back to what is over)" in ran.err
    assert ran.json["records_stored"] == 2
    assert [segment["verdict"] for segment in ran.json["coverage"]] == ["stored"]
    assert (ran.json["time_range"]["end_ms"], ran.json["time_range"]["clipped"]) == (START_MS, True)
    assert "proven complete, until 2024-08-01\n" in at_six(*what).ok().out


def test_a_range_of_which_no_candle_is_over_ends_with_nothing_and_says_so(at_six: Cli) -> None:
    what = ("load", "BTCUSDT", "api_candles_1d", "2024-08-01:2024-08-05")
    ran = at_six(*what).ok()
    why = "no candle of this range was over when the workflow was planned"
    command = f"streamforge {' '.join(what)} --data {at_six.data} --exchange {at_six.exchange}"
    first = f"{why}, the first one ends at 2024-08-02: load it then with `{command}`\n"
    assert re.search(f"finished in .*: {re.escape(first)}", ran.out)
    queue_id = ran.out.split()[0]
    assert first in at_six("show", queue_id).ok().out
    assert why in at_six("coverage", queue_id).ok().err
    assert at_six(*what, "--json").ok().json["records_expected"] == 0
    none = at_six("load", "BTCUSDT", "api_candles_1d", "2024-08-01T00:10Z:2024-08-01T00:15Z").ok()
    assert re.search("finished in .*: no candle opens in this range\n", none.out)
    assert "  no candle opens in this range\n" in at_six("show", none.out.split()[0]).ok().out
    for refused in (at_six("export", queue_id), at_six("coverage", queue_id, "--verify")):
        assert (refused.code, why in refused.err) == (1, True), refused.err


HOURS = "api_candles_1h"


def test_the_last_days_are_loaded_and_shown_as_what_they_became(cli: Cli) -> None:
    began = time.time() // 3600
    ran = cli("load", "BTCUSDT", HOURS, "-2d").ok()
    match = re.search(r": BTCUSDT api_candles_1h (\S+) to (\S+) \(asked for -2d", ran.err)
    assert match is not None, ran.err
    span = parse_time_range(f"{match[1]}:{match[2]}")
    queue = cli("queues", "--json").ok().json["queues"][0]
    assert queue["time_range"]["requested"] == "-2d"
    assert queue["time_range"]["start_ms"] == span.start_ms
    until_ms, clipped = queue["time_range"]["end_ms"], queue["time_range"]["clipped"]
    assert 47 <= (until_ms - span.start_ms) / HOUR_MS <= 48
    # In the first second of an hour all of it is over, as it is where an hour ends between the request and the plan.
    assert clipped is (until_ms < span.start_ms + 48 * HOUR_MS)
    assert until_ms % HOUR_MS == 0 or not clipped
    shown = cli("show", queue["queue_id"]).ok().out
    words = terminal.asked_for("-2d", clipped=clipped)
    assert f"{format_ms(span.start_ms)} to {format_ms(until_ms)}{words}\n" in shown
    # Whole hours that opened in it, and are over.
    assert 46 <= queue["progress"]["records_stored"] <= 48
    exported = cli("export", "BTCUSDT", HOURS, "-1d")
    # What is not over is not missing; where an hour ended in between, that one is.
    assert exported.code == (0 if time.time() // 3600 == began else 1), exported.err
    assert 22 <= exported.out.count("\n") - 1 <= 24
    assert cli("coverage", "BTCUSDT", HOURS, "-36h:-12h", "--json").ok().json["complete"] is True


@pytest.mark.parametrize("words", [("today:", "--again"), ("--again", "yesterday"), ("2026-01:",)])
def test_an_open_or_named_range_is_taken_wherever_it_stands(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("load", "BTCUSDT", "api_candles_1d", *words)
    assert ran.code == 0, ran.err
    asked = next(word for word in words if not word.startswith("--"))
    assert f"(asked for {asked}" in ran.err


def test_a_range_that_looks_like_an_option_is_an_argument_and_an_options_value_stays_one(cli: Cli) -> None:
    ran = cli("load", "-3d", "BTCUSDT", HOURS, "--timeout", "-1")
    assert "--timeout must be at least 0.1, not '-1'" in ran.err
    ran = cli("coverage", "BTCUSDT", "--json", HOURS, "-3d")
    assert "nothing was loaded into" in ran.err


def test_load_coverage_and_export_agree_on_a_range_in_which_no_candle_begins(cli: Cli) -> None:
    days, nothing = "api_candles_1d", "no candle opens in this range\n"
    inside = ("BTCUSDT", days, "2024-08-03T01:00Z:2024-08-03T23:00Z")
    assert cli("load", *inside).ok().out.endswith(f": {nothing}"), "and no verdict follows"
    known = cli("coverage", *inside).ok()
    assert known.err.endswith(f"BTCUSDT {days}, 2024-08-03T01:00Z to 2024-08-03T23:00Z: {nothing}")
    exported = cli("export", *inside)
    assert (exported.code, exported.out) == (1, "")
    assert exported.err == f"streamforge: nothing of {' '.join(inside)} is stored: {nothing}"
    cli.load("BTCUSDT", days, "2024-08-03")
    assert cli("coverage", *inside).ok().err == known.err, "also where the candle is stored"
    cli("load", "OLDUSDT", HOURS, "-2d").ok()  # delisted
    assert cli("coverage", "OLDUSDT", HOURS).ok().err.endswith("complete: every hole has its reason\n")
    closed = cli("series", "OLD", "--json").ok().json["series"][0]
    assert (closed["complete"], closed["holes"], closed["records"]) == (True, 1, 0)
