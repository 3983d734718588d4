"""queues, show, events, coverage, rm, retry, targets and schemas, on a data directory without a manager."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.support import COLLECTION, START_MS, TYPE, Cli, exchange

HOUR = "2024-08-01:2024-08-01T01:00Z"


@pytest.fixture
def one(loaded: Cli) -> str:
    """The workflow of `loaded`."""
    queues = loaded("queues", "--json").ok().json["queues"]
    assert len(queues) == 1
    found: str = queues[0]["queue_id"]
    return found


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
    out = loaded("events", one).ok().out
    assert len(out.splitlines()) == len(said)
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  finished +arango-candles__\w{6}: 360 records", out, re.M)
    followed = loaded("events", one, "--follow").ok()
    assert followed.out == out
    assert followed.err == f"{one} is finished\n"


def test_coverage_names_every_range_and_fails_where_one_has_no_reason(loaded: Cli, one: str) -> None:
    whole = loaded("coverage", one).ok()
    assert whole.err == "complete: no hole\n"
    ran = loaded("coverage", "BTCUSDT", TYPE, "2024-08-01:2024-08-02", "--json")
    assert ran.code == 1
    assert ran.json["complete"] is False
    assert [(s["verdict"], s["start_ms"]) for s in ran.json["segments"]] == [
        ("stored", START_MS),
        ("unknown", START_MS + 6 * 3_600_000),
    ]
    told = loaded("coverage", "BTCUSDT", TYPE, "2024-08-01:2024-08-02")
    assert re.search(r"^2024-08-01T06:00Z +2024-08-02 +unknown +not loaded yet$", told.out, re.MULTILINE)
    nothing = loaded("coverage", "ETHUSDT", TYPE)
    assert (nothing.code, nothing.err) == (1, f"nothing is known of ETHUSDT {TYPE}: nothing of it was loaded yet\n")


def test_rm_asks_then_removes_and_keeps_records_unless_told(cli: Cli) -> None:
    first = cli.load("BTCUSDT", TYPE, HOUR)["queue_id"]
    refused = cli("rm", first)
    assert refused.code == 2
    assert "nobody can answer here: add --yes" in refused.err
    assert cli("rm", first, "--yes", "--json").ok().json == {"removed": first, "data": False}
    assert cli("queues", "--json").json == {"queues": []}
    assert cli("export", "BTCUSDT", TYPE).ok().out.count("\n") == 61
    second = cli.load("BTCUSDT", TYPE, HOUR, "--again")["queue_id"]
    assert cli("rm", second, "--yes", "--data-too").ok().out == f"{second} is removed with its records\n"
    assert cli("export", "BTCUSDT", TYPE, HOUR).code == 1
    assert cli("coverage", "BTCUSDT", TYPE, HOUR).code == 1


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
    assert loaded("dlq", "list", one, "--json").ok().json == {"queue_id": one, "dead_letters": [], "outstanding": 0}


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
