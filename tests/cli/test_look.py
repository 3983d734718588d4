"""queues, show, events, coverage, rm, retry, targets, schemas, series and symbols, without a running manager."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from streamforge.cli import terminal
from streamforge.manager import workflow_service
from tests.cli.support import COLLECTION, HOUR, HOUR_MS, START_MS, TYPE, Cli, exchange


@pytest.fixture
def one(loaded: Cli) -> str:
    """The workflow of `loaded`."""
    queues = loaded("queues", "--json").ok().json["queues"]
    assert len(queues) == 1
    found: str = queues[0]["queue_id"]
    return found


@pytest.mark.e2e
def test_queues_are_listed_newest_first_and_filtered(cli: Cli) -> None:
    first = cli.load("BTCUSDT", TYPE, HOUR)["queue_id"]
    second = cli.load("ETHUSDT", TYPE, HOUR)["queue_id"]
    listed = cli("queues", "--json").ok().json["queues"]
    assert [queue["queue_id"] for queue in listed] == [second, first]
    assert [q["queue_id"] for q in cli("queues", "--symbol", "btcusdt", "--json").json["queues"]] == [first]
    assert cli("queues", "--status", "error", "--json").json == {"queues": []}
    assert len(cli("queues", "--limit", "1", "--json").json["queues"]) == 1
    ran = cli("queues", "--limit", "1").ok()
    assert second in ran.out
    assert first not in ran.out
    assert ran.err == "the newest 1 are shown; see more with --limit\n"
    assert cli("queues", "--status", "error").err == "no workflow fits\n"


@pytest.mark.e2e
def test_queues_are_found_by_label_and_by_what_they_begin_with(cli: Cli) -> None:
    first = cli.load("BTCUSDT", TYPE, HOUR, "--label", "team:research", "--label", "desk:a")["queue_id"]
    second = cli.load("ETHUSDT", TYPE, HOUR, "--label", "team:ops")["queue_id"]

    def found(*options: str) -> list[str]:
        return [queue["queue_id"] for queue in cli("queues", *options, "--json").ok().json["queues"]]

    assert found("--label", "team:research") == [first]
    assert found("--label", "team:research", "--label", "team:ops") == [second, first]
    assert found("--search", "eth") == [second]
    assert found("--search", first) == [first]
    assert "  labels: desk:a, team:research\n" in cli("show", first).ok().out
    refused = cli("load", "BTCUSDT", TYPE, HOUR, "--label", "research")
    assert (refused.code, "write team:research" in refused.err) == (2, True)


def test_a_table_of_queues_can_be_read_by_line(loaded: Cli, one: str) -> None:
    out = loaded("queues").ok().out.splitlines()
    assert out[0].split() == ["queue_id", "status", "range", "stored", "of", "created"]
    row = next(line for line in out if line.startswith(one))
    assert row.split()[1:5] == ["finished", "2024-08-01:2024-08-01T06:00Z", "360", "360"]
    assert all(line == line.rstrip() for line in out)


def test_show_tells_steps_attempts_and_coverage(loaded: Cli, one: str) -> None:
    out = loaded("show", one).ok().out
    assert out.startswith(f"{one} finished\n  BTCUSDT api_candles_1m, 2024-08-01 to 2024-08-01T06:00Z\n")
    assert "  360 of 360 (100 %)\n" in out
    assert re.search(r"^arango-candles +finished +1 +360 ", out, re.MULTILINE)
    assert re.search(r"^loader-api-candles +finished +1 +360 ", out, re.MULTILINE)
    assert f"  stored    2024-08-01 to 2024-08-01T06:00Z: 360 records in {COLLECTION}\n" in out
    found = loaded("show", one, "--json").ok().json
    assert (found["queue_id"], found["collection"], len(found["steps"])) == (one, COLLECTION, 2)


def test_events_are_told_in_order(loaded: Cli, one: str) -> None:
    said = [json.loads(line) for line in loaded("events", one, "--json").ok().out.splitlines()]
    assert [event["id"] for event in said] == sorted({event["id"] for event in said})
    words = [event["event"]["event"] for event in said]
    assert words.count("started") == words.count("finished") == 2
    assert len(loaded("events", one, "--all").ok().out.splitlines()) == len(said)
    out = loaded("events", one).ok().out
    assert re.findall(r"  (\w+) ", out) == [word for word in words if word != "loading"]
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  finished +arango-candles__\w{6}: 360 records", out, re.M)
    followed = loaded("events", one, "--follow").ok()
    assert followed.out == out
    assert followed.err == f"{one} is finished\n"


def test_coverage_names_every_range_and_fails_where_one_has_no_reason(loaded: Cli, one: str) -> None:
    whole = loaded("coverage", one).ok()
    assert whole.err == f"BTCUSDT {TYPE}, 2024-08-01 to 2024-08-01T06:00Z: complete: no hole\n"
    ran = loaded("coverage", "BTCUSDT", TYPE, "2024-08-01:2024-08-02", "--json")
    assert ran.code == 1
    assert ran.json["complete"] is False
    assert [(s["verdict"], s["start_ms"]) for s in ran.json["segments"]] == [
        ("stored", START_MS),
        ("unknown", START_MS + 6 * 3_600_000),
    ]
    told = loaded("coverage", "BTCUSDT", TYPE, "2024-08-01:2024-08-02")
    where = f"--data {loaded.data} --exchange {loaded.exchange}"
    load = f"`streamforge load BTCUSDT {TYPE} 2024-08-01T06:00Z:2024-08-02 {where}`"
    assert told.err.endswith(f": not complete: load the rest with {load}\n")
    assert re.search(r"^2024-08-01T06:00Z +2024-08-02 +unknown +not loaded yet$", told.out, re.MULTILINE)


def test_what_is_said_of_a_series_without_a_range_names_the_span_it_speaks_of(loaded: Cli) -> None:
    asked = loaded("coverage", "BTCUSDT", TYPE).ok()
    assert asked.err == (
        f"BTCUSDT {TYPE}, 2024-08-01 to 2024-08-01T06:00Z (what was asked for so far; --all: its whole life): "
        "complete: no hole\n"
    )
    span = loaded("coverage", "BTCUSDT", TYPE, "--json").ok().json["span"]
    assert (span["basis"], span["start_ms"], span["end_ms"]) == ("asked", START_MS, START_MS + 6 * 3_600_000)
    life = loaded("coverage", "BTCUSDT", TYPE, "--all", "--json")
    assert (life.code, life.json["complete"]) == (1, False)
    assert [s["verdict"] for s in life.json["segments"]] == ["unknown", "stored", "unknown"]
    assert life.json["span"]["basis"] == "life"
    assert (loaded("coverage", "BTCUSDT", TYPE, "2024-08", "--all").code) == 2
    assert "360 records of BTCUSDT api_candles_1m, 2024-08-01 to 2024-08-01T06:00Z" in (
        loaded("export", "BTCUSDT", TYPE).ok().err
    )
    exported = loaded("export", "BTCUSDT", TYPE, "--all")
    assert exported.code == 1
    assert "hole: 2024-08-01T06:00Z to " in exported.err


def test_a_series_of_which_nothing_is_known_is_an_error_that_says_what_was_meant(loaded: Cli) -> None:
    for command in ("coverage", "export"):
        near = loaded(command, "BTCUSTD", TYPE)
        assert (near.code, near.out) == (1, "")
        assert near.err.startswith(
            f"streamforge: nothing is known of BTCUSTD {TYPE}: nothing of it was loaded yet (or is BTCUSDT meant, of "
            "which something was?). Load it with `streamforge load BTCUSTD "
        )
        far = loaded(command, "DOGEEUR", TYPE, "2024-08")
        assert (far.code, far.out) == (1, "")
        assert f"nothing is known of DOGEEUR {TYPE}: nothing of it was loaded yet. Load it with `" in far.err
        assert f"`streamforge load DOGEEUR {TYPE} 2024-08 --data {loaded.data}" in far.err


@pytest.mark.e2e
def test_rm_asks_then_removes_and_keeps_records_unless_told(cli: Cli) -> None:
    first = cli.load("BTCUSDT", TYPE, HOUR)["queue_id"]
    refused = cli("rm", first)
    assert refused.code == 2
    assert "there is no terminal to answer: add --yes" in refused.err
    told = cli("rm", first, "--yes", "--json").ok().json
    assert (told["removed"], told["data"], told["records_removed"], told["records_staying"]) == (first, False, 0, 60)
    assert cli("queues", "--json").json == {"queues": []}
    assert cli("export", "BTCUSDT", TYPE).ok().out.count("\n") == 61
    second = cli.load("BTCUSDT", TYPE, HOUR, "--again")["queue_id"]
    assert cli("rm", second, "--yes", "--data-too").ok().out == (
        f"{second} is removed; 60 records removed from {COLLECTION}; no record of its range is stored\n"
    )
    assert cli("export", "BTCUSDT", TYPE, HOUR).code == 1
    assert cli("coverage", "BTCUSDT", TYPE, HOUR).code == 1


@pytest.mark.e2e
def test_rm_tells_which_records_stay_because_they_are_not_its_own(cli: Cli) -> None:
    cli.load("BTCUSDT", TYPE, "2024-08-01T22:00Z:2024-08-02T01:00Z")
    part = cli.load("BTCUSDT", TYPE, "2024-08-02:2024-08-02T02:00Z")["queue_id"]
    own = "btcusdt_api_candles_1m_2024_08_02"
    assert cli("rm", part, "--yes", "--data-too").ok().out == (
        f"{part} is removed; 60 records removed from {own}; 60 records of its range stay in {COLLECTION}: other "
        "workflows stored them there\n"
    )
    none = cli.load("BTCUSDT", TYPE, "2024-08-02:2024-08-02T00:01Z")["queue_id"]
    assert cli("rm", none, "--yes", "--data-too").ok().out == (
        f"{none} is removed; no record removed: {own} holds none of its range; 1 record of its range stays in "
        f"{COLLECTION}: another workflow stored it there\n"
    )
    kept = cli("coverage", "BTCUSDT", TYPE, "2024-08-01T22:00Z:2024-08-02T01:00Z", "--json").ok().json
    assert [(s["verdict"], s["records"]) for s in kept["segments"]] == [("stored", 180)]


@pytest.mark.e2e
def test_a_failed_load_is_retried_to_its_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMFORGE_REQUEST_ATTEMPTS", "1")
    monkeypatch.setenv("STREAMFORGE_MAX_ASKING_FAILURES", "1")
    # One request is refused for good; the next command finds the exchange well again.
    with exchange("--fault", "451:path=klines,count=1") as url:
        cli = Cli(capsys, tmp_path / "data", url)
        failed = cli("load", "BTCUSDT", TYPE, HOUR, "--json")
        assert failed.code == 1
        queue_id = failed.json["queue_id"]
        assert failed.json["status"] == "error"
        assert f"{queue_id} failed: " in failed.err
        assert "451" in failed.err
        shown = cli("show", queue_id).ok().out
        assert f"{queue_id} error\n" in shown
        assert "  failed: " in shown
        ran = cli("retry", queue_id, "--json").ok()
    assert (ran.json["queue_id"], ran.json["status"], ran.json["records_stored"]) == (queue_id, "finished", 60)
    done = cli("retry", queue_id)
    assert done.code == 1
    assert "only an interrupted or failed one can be retried" in done.err


def test_what_has_ended_cannot_be_stopped_and_has_no_dead_letters(loaded: Cli, one: str) -> None:
    listed = loaded("dlq", "list", one).ok()
    assert (listed.out, listed.err) == ("", f"{one} has no dead letters\n")
    assert loaded("dlq", "list", one, "--json").ok().json == {
        "queue_id": one,
        "dead_letters": [],
        "outstanding": 0,
        "after": None,
    }


def test_targets_and_schemas_need_no_manager(cli: Cli) -> None:
    found = cli("targets", "--json", where=False).ok().json["targets"]
    roles = {target["target"]: target["role"] for target in found}
    assert (roles["loader-api-candles"], roles["arango-candles"]) == ("loader", "sink")
    out = cli("targets", where=False).ok().out
    assert "loader-api-candles" in out
    assert "concurrency=4" in out
    names = [entry["name"] for entry in cli("schemas", "--json", where=False).ok().json["schemas"]]
    assert {"command", "event", "candle"} <= set(names)
    schema = cli("schemas", "candle", where=False).ok().json
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "open_time" in json.dumps(schema)


@pytest.mark.e2e
def test_of_a_workflow_that_ended_earlier_it_is_said_when(loaded: Cli) -> None:
    [listed] = loaded("queues", "--json").ok().json["queues"]
    queue_id, created, ended = listed["queue_id"], listed["created_at"], listed["ended_at"]
    took = (datetime.fromisoformat(ended) - datetime.fromisoformat(created)).total_seconds()
    ran = loaded("wait", queue_id).ok()
    told = (
        f"{queue_id} finished at {terminal.moment(ended)} (took {terminal.duration(took)}): 360 of 360 records stored"
    )
    assert ran.out.startswith(told)


@pytest.mark.e2e
def test_a_queue_id_with_a_wrong_letter_is_recognised(loaded: Cli) -> None:
    [listed] = loaded("queues", "--json").ok().json["queues"]
    right = listed["queue_id"]
    for wrong in ("x" if right[-1] != "x" else "y", "X" if right[-1] != "x" else "Y"):
        name = right[:-1] + wrong
        for command in ("show", "wait", "retry"):
            ran = loaded(command, name)
            assert (ran.code, ran.out) == (1, "")
            assert ran.err.endswith(f"there is no workflow '{name.lower()}': did you mean {right}?\n"), ran.err
    other = right[:-6] + ("qqqqqq" if not set("q") & set(right[-6:]) else "000000")
    assert "did you mean" not in loaded("show", other).err
    assert loaded("show", right.upper()).ok().out.startswith(right)


@pytest.mark.e2e
def test_series_tells_span_records_and_holes(cli: Cli) -> None:
    assert cli("series", "--json").ok().json == {"series": []}
    assert not cli.data.exists()
    cli.load("ETHUSDT", TYPE, "2024-08-01:2024-08-01T01:00Z")
    cli.load("BTCUSDT", TYPE, "2024-08-01:2024-08-01T01:00Z")
    cli.load("BTCUSDT", TYPE, "2024-08-01T02:00Z:2024-08-01T03:00Z")
    out = cli("series").ok().out.splitlines()
    assert out[0].split() == ["symbol", "type", "from", "to", "records", "holes"]
    rows = [re.split(r" {2,}", line.strip()) for line in out[2:]]
    assert rows == [
        ["BTCUSDT", TYPE, "2024-08-01", "2024-08-01T03:00Z", "120", "1, not complete"],
        ["ETHUSDT", TYPE, "2024-08-01", "2024-08-01T01:00Z", "60", "none"],
    ]
    found = cli("series", "--json").ok().json["series"]
    assert [(one["symbol"], one["records"], one["holes"], one["complete"]) for one in found] == [
        ("BTCUSDT", 120, 1, False),
        ("ETHUSDT", 60, 0, True),
    ]
    assert (found[0]["start_ms"], found[0]["end_ms"]) == (START_MS, START_MS + 3 * HOUR_MS)
    assert [one["symbol"] for one in cli("series", "eth", "--json").ok().json["series"]] == ["ETHUSDT"]
    assert [one["symbol"] for one in cli("series", "b*usdt", "--json").ok().json["series"]] == ["BTCUSDT"]
    cli.load("ETHUSDT", TYPE, "2024-08-01T00:30Z:2024-08-01T00:40Z", "--again")
    [again] = cli("series", "eth", "--json").ok().json["series"]
    assert (again["records"], again["holes"], again["complete"]) == (60, 0, True)
    assert cli("series", "nope").ok().err == "no series fits 'nope': `streamforge series` lists all 2\n"


def test_symbols_are_the_exchanges_with_their_status(cli: Cli) -> None:
    whole = cli("symbols", "--limit", "10000", "--json").ok().json
    names = [one["symbol"] for one in whole["symbols"]]
    assert whole["total"] == len(names) > 3
    assert names == sorted(names)
    assert {"symbol": "BTCUSDT", "status": "TRADING", "base_asset": "BTC", "quote_asset": "USDT"} in whole["symbols"]
    assert not cli.data.exists(), "nothing is loaded"
    found = cli("symbols", "*usdt", "--status", "trading", "--json").ok().json["symbols"]
    assert found == [one for one in whole["symbols"] if one["symbol"].endswith("USDT") and one["status"] == "TRADING"]
    ran = cli("symbols", "--limit", "2").ok()
    assert [line.split()[0] for line in ran.out.splitlines()[2:]] == names[:2]
    assert ran.err == f"2 of {len(names)} are shown; see more with --limit, fewer by a PATTERN\n"
    nothing = cli("symbols", "nope")
    assert (nothing.code, nothing.err) == (0, "the exchange has no symbol that fits the pattern 'nope'\n")


@pytest.mark.e2e
def test_an_exchange_that_is_away_is_named_soon_and_given_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LATE_S", 0.01)
    monkeypatch.setattr(workflow_service, "SYMBOLS_WITHIN_S", 0.5)
    with exchange("--fault", "stall:seconds=600,path=exchangeInfo") as url:
        ran = Cli(capsys, tmp_path / "data", url)("symbols")
        assert ran.code == 1
        waiting, given_up = ran.err.splitlines()
    assert waiting == f"waiting for the symbols of the exchange at {url}"
    assert given_up.startswith("streamforge: the test exchange did not list its symbols within 0.5 s")
    assert given_up.endswith("is it reached from here? Try again later")
