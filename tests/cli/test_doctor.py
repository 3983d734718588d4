"""doctor: what works, what does not and why, and that it leaves nothing behind."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from streamforge.cli.checks import place_checks
from tests.cli.support import UNPRIVILEGED, Cli, Json, finished, manager, process

PARTS = ["settings", "disk", "data", "manager", "bus", "store", "room", "launcher", "exchange"]


def checks(ran_json: Json) -> dict[str, Json]:
    """The checks by part."""
    return {check["part"]: check for check in ran_json["checks"]}


def test_all_is_well_and_nothing_is_left_behind(cli: Cli, tmp_path: Path) -> None:
    found = cli("doctor", "--json").ok().json
    assert found["ok"] is True
    assert [check["part"] for check in found["checks"]] == PARTS
    assert {check["verdict"] for check in found["checks"]} == {"works"}
    assert list(tmp_path.iterdir()) == []


def test_of_a_folder_in_use_it_tells_what_is_there_and_changes_nothing(loaded: Cli) -> None:
    before = sorted(path for path in loaded.data.iterdir())
    found = checks(loaded("doctor", "--json").ok().json)
    assert "this version's format, data of the test exchange" in found["data"]["detail"]
    assert re.search(r"\b(1 collection|2 collections), read whole$", found["store"]["detail"])
    room = r"the data take 0\.\d MiB, topics 0\.\d MiB; [\d,.]+ GiB are free; its growth is known after some hours"
    assert re.match(room, found["room"]["detail"])
    assert sorted(path for path in loaded.data.iterdir()) == before


def test_little_room_is_told_with_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    room: Json = {}
    for free, verdict in ((2**30, "works"), (2**30 - 1, "careful")):
        usage = shutil._ntuple_diskusage(2**40, 2**40 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        room = checks(cli("doctor", "--json").ok().json)["room"]
        assert room["verdict"] == verdict
    assert "the data take 0.0 MiB, topics 0.0 MiB; 1,024.0 MiB are free; " in room["detail"]
    assert "a year of 1m candles takes about 0.2 GiB: make room" in room["next_step"]


def test_an_exchange_that_does_not_answer_fails_with_what_to_do(cli: Cli) -> None:
    ran = cli("doctor", "--exchange", "http://127.0.0.1:1/secret", "--data", str(cli.data), "--json", where=False)
    assert (ran.code, "secret" in ran.out) == (1, False)
    assert "only `streamforge up` counts by itself" in checks(ran.json)["manager"]["detail"]
    exchange = checks(ran.json)["exchange"]
    assert exchange["verdict"] == "fails"
    assert "http://127.0.0.1:1 does not answer" in exchange["detail"]
    assert "use --exchange test" in exchange["next_step"]


def test_a_newer_format_and_a_bad_setting_fail(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.data.mkdir()
    (cli.data / "format.json").write_text('{"format": 99}')
    monkeypatch.setenv("STREAMFORGE_PORT", "many")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    found = checks(ran.json)
    assert "has format 99" in found["data"]["detail"]
    assert "STREAMFORGE_PORT" in found["settings"]["detail"]
    assert found["bus"]["verdict"] == "works"


def test_a_misspelt_setting_is_pointed_out_here_and_by_who_would_have_read_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMFORGE_MAX_RUNING", "3")
    told = "STREAMFORGE_MAX_RUNING is set, but nothing reads it: is STREAMFORGE_MAX_RUNNING meant?"
    settings = checks(cli("doctor", "--json").ok().json)["settings"]
    assert (settings["verdict"], settings["detail"]) == ("careful", told)
    assert f"careful: {told}\n" in cli("load", "BTCUSDT", "api_candles_1h", "2024-08-01").ok().err
    assert "careful" not in cli("queues").ok().err


def test_a_folder_of_something_else_is_pointed_out(cli: Cli) -> None:
    cli.data.mkdir()
    (cli.data / "holiday.jpg").write_text("x")
    found = checks(cli("doctor", "--json").ok().json)
    assert found["data"]["verdict"] == "careful"
    assert "holds other things (holiday.jpg)" in found["data"]["detail"]
    assert [path.name for path in cli.data.iterdir()] == ["holiday.jpg"]


def test_a_file_where_the_folder_should_be_fails(cli: Cli) -> None:
    cli.data.write_text("x")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert f"{cli.data} is no folder" in checks(ran.json)["disk"]["detail"]


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    with process("doctor", "--json", "--data", str(data), "--exchange", "test", command=UNPRIVILEGED) as started:
        ran = finished(started)
    assert ran.code == 1, ran.err
    assert checks(ran.json)["disk"]["verdict"] == "fails"


def test_the_table_is_for_people(loaded: Cli) -> None:
    out = loaded("doctor").ok().out
    for part in PARTS:
        assert f"\n{part} " in out


def test_nobody_at_the_server_is_a_failure(cli: Cli) -> None:
    ran = cli("doctor", "--server", "http://127.0.0.1:1", "--json", where=False)
    assert ran.code == 1
    assert "no server answers" in checks(ran.json)["server"]["detail"]


def test_a_manager_that_is_stopped_fails_with_its_process(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with manager(cli.data, str(cli.exchange)) as (started, ready):
        assert checks(cli("doctor", "--json").ok().json)["manager"]["verdict"] == "works"
        started.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(place_checks, "HEALTH_S", 0.2)
        ran = cli("doctor", "--json")
        started.send_signal(signal.SIGCONT)
    found, url = checks(ran.json)["manager"], ready["url"]
    assert (ran.code, found["verdict"]) == (1, "fails")
    told = f"the manager at {url} (process {started.pid}) did not answer within 0.2 s (GET /healthz): is it stopped?"
    assert found["detail"].startswith(f"{told} `kill -CONT {started.pid}` lets it go on")
