"""doctor: what works, what does not and why, and that it leaves nothing behind."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge.cli.checks import place_checks
from streamforge.cli.checks.place_checks import Subject
from streamforge.cli.checks.store_check import check_store
from streamforge.cli.session import Where
from streamforge_utils.adapters.arango import ArangoStore, Connection, Transport
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.object_store import ObjectInfo
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.ports.store import Document
from tests.cli.support import UNPRIVILEGED, Cli, Json, finished, manager, process
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.arangodb.server import Settings

PARTS = ["settings", "disk", "data", "manager", "bus", "store", "room", "objects", "launcher", "exchange", "streams"]


def checks(ran_json: Json) -> dict[str, Json]:
    """The checks by part."""
    return {check["part"]: check for check in ran_json["checks"]}


@pytest.mark.e2e
def test_all_is_well_and_nothing_is_left_behind(cli: Cli, tmp_path: Path) -> None:
    found = cli("doctor", "--json").ok().json
    assert found["ok"] is True
    assert [check["part"] for check in found["checks"]] == PARTS
    assert {check["verdict"] for check in found["checks"]} == {"works"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_of_a_folder_in_use_it_tells_what_is_there_and_changes_nothing(loaded: Cli) -> None:
    before = sorted(path for path in loaded.data.iterdir())
    found = checks(loaded("doctor", "--json").ok().json)
    assert "this version's format, data of the test exchange" in found["data"]["detail"]
    assert re.search(r"\b[1-3] collections?, read whole$", found["store"]["detail"])
    room = r"the data take [\d.]+ kB, topics [\d.]+ [kM]B; [\d,.]+ [GT]B are free; its growth is known after some hours"
    assert re.match(room, found["room"]["detail"])
    assert sorted(path for path in loaded.data.iterdir()) == before


@pytest.mark.e2e
def test_an_overdue_schedule_is_named_with_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("load", "BTCUSDT", "api_candles_1h", "2024-08-01").ok()
    cli("schedule", "add", "hourly", "BTCUSDT", "api_candles_1h", "--cron", "0 * * * *").ok()
    told = checks(cli("doctor", "--json").ok().json)["schedules"]
    assert (told["verdict"], told["detail"]) == ("works", "1 schedule, none is overdue")
    later_ms = time.time_ns() // 1_000_000 + 2 * 3_600_000
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: later_ms)
    found = cli("doctor", "--json").ok().json
    told = checks(found)["schedules"]
    due = r"hourly: it should have fired at 20\d\d-\d\d-\d\d(T\d\d:00Z)?, and .*no manager"
    assert (told["verdict"], found["ok"]) == ("careful", True)
    assert re.match(due, told["detail"]), told["detail"]
    assert told["next_step"] == f"see `streamforge schedule show hourly --data {cli.data}`"


@pytest.mark.e2e
def test_a_store_of_objects_that_ignores_conditions_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    put = ObjectFolder.put

    async def ignoring(self: ObjectFolder, name: str, content: bytes | Path, **_: object) -> ObjectInfo:
        return await put(self, name, content)

    monkeypatch.setattr(ObjectFolder, "put", ignoring)
    found = checks(cli("doctor", "--json").json)["objects"]
    assert found["verdict"] == "fails"
    assert "the server does not know `If-None-Match`" in found["detail"]


@pytest.mark.e2e
def test_little_room_is_told_with_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    room: Json = {}
    for free, verdict in ((2**30, "works"), (2**30 - 1, "careful")):
        usage = shutil._ntuple_diskusage(2**40, 2**40 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        room = checks(cli("doctor", "--json").ok().json)["room"]
        assert room["verdict"] == verdict
    assert "the data take 0 B, topics 0 B; 1.1 GB are free; " in room["detail"]
    assert "a year of 1m candles takes about 0.2 GB: make room" in room["next_step"]


@pytest.mark.e2e
def test_an_exchange_that_does_not_answer_fails_with_what_to_do(cli: Cli) -> None:
    ran = cli("doctor", "--exchange", "http://127.0.0.1:1/secret", "--data", str(cli.data), "--json", where=False)
    assert (ran.code, "secret" in ran.out) == (1, False)
    assert "only `streamforge up` counts by itself" in checks(ran.json)["manager"]["detail"]
    exchange = checks(ran.json)["exchange"]
    assert exchange["verdict"] == "fails"
    assert "http://127.0.0.1:1 does not answer" in exchange["detail"]
    assert "use --exchange test" in exchange["next_step"]


@pytest.mark.e2e
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


@pytest.mark.e2e
def test_a_misspelt_setting_is_pointed_out_here_and_by_who_would_have_read_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMFORGE_MAX_RUNING", "3")
    told = "STREAMFORGE_MAX_RUNING is set, but nothing reads it: is STREAMFORGE_MAX_RUNNING meant?"
    settings = checks(cli("doctor", "--json").ok().json)["settings"]
    assert (settings["verdict"], settings["detail"]) == ("careful", told)
    assert f"careful: {told}\n" in cli("load", "BTCUSDT", "api_candles_1h", "2024-08-01").ok().err
    assert "careful" not in cli("queues").ok().err


@pytest.mark.e2e
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


@pytest.mark.e2e
def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o500)
    with process("doctor", "--json", "--data", str(data), "--exchange", "test", command=UNPRIVILEGED) as started:
        ran = finished(started)
    assert ran.code == 1, ran.err
    assert checks(ran.json)["disk"]["verdict"] == "fails"


@pytest.mark.e2e
def test_the_table_is_for_people(loaded: Cli) -> None:
    out = loaded("doctor").ok().out
    for part in PARTS:
        assert f"\n{part} " in out


def test_nobody_at_the_server_is_a_failure(cli: Cli) -> None:
    ran = cli("doctor", "--server", "http://127.0.0.1:1", "--json", where=False)
    assert ran.code == 1
    assert "no server answers" in checks(ran.json)["server"]["detail"]


@pytest.mark.long
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


@pytest.fixture
async def double(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ArangoDouble]:
    async with ArangoDouble(Settings(version="3.12.10", password="hush-hush")) as found:
        found.server.create_database({"name": "candles"})
        monkeypatch.setenv("ARANGO_URL", found.url)
        monkeypatch.setenv("ARANGO_DB", "candles")
        monkeypatch.setenv("ARANGO_USER", "root")
        monkeypatch.setenv("ARANGO_PASSWORD", "hush-hush")
        yield found


async def found(folder: Path) -> list[Finding]:
    """All that the check finds, up to where it raises."""
    return [one async for one in check_store(Subject(Where(), folder, folder / "probe"))]


async def room(folder: Path) -> Finding:
    [first] = [one for one in await found(folder) if one.part == "room"]
    return first


async def test_a_server_that_takes_no_more_writes_is_told_with_its_room(double: ArangoDouble, tmp_path: Path) -> None:
    connection = Connection(url=double.url, database="candles", user="root", password=Secret("hush-hush"))
    store = ArangoStore(Transport(connection))
    await store.upsert("candles", [Document("k", 1, b'{"n":1}')])
    await store.close()
    double.server.settings.limit_bytes = 1
    double.misbehaviour.add(Fault(kind="read-only"))
    check = check_store(Subject(Where(), tmp_path, tmp_path / "probe"))
    first = await anext(check)
    assert (first.part, first.verdict) == ("room", "fails")
    assert "the limit is reached" in first.detail
    assert "STREAMFORGE_RETENTION" in first.next_step
    with pytest.raises(RetryableError, match="read-only"):
        await anext(check)


async def test_a_limit_that_the_user_may_not_see_is_called_unknown(double: ArangoDouble, tmp_path: Path) -> None:
    double.misbehaviour.add(Fault(kind="error", number=11, path="_admin/license"))
    told = await room(tmp_path)
    assert told.verdict == "careful"
    assert "unknown" in told.detail
    assert "_system" in told.next_step


async def test_who_sees_one_database_of_the_limited_server_is_told_so(double: ArangoDouble, tmp_path: Path) -> None:
    double.server.settings.edition = "community"
    whole = await room(tmp_path)
    double.misbehaviour.add(Fault(kind="error", number=11, path="_admin/license"))
    alone = await room(tmp_path)
    assert (whole.verdict, alone.verdict) == ("works", "careful")
    assert "of 100 GiB" in alone.detail
    assert alone.detail.endswith("this database alone, and the limit counts all databases of the server")
    assert "_system" in alone.next_step


@pytest.mark.parametrize("number", [11, 1004, 1620])
async def test_what_keeps_it_from_storing_is_told_and_not_what_keeps_it_from_cleaning(
    number: int, double: ArangoDouble, tmp_path: Path
) -> None:
    double.misbehaviour.add(Fault(kind="error", number=number, method="POST", path="_api/document"))
    double.misbehaviour.add(Fault(kind="error", number=11, method="DELETE"))
    with pytest.raises(StreamForgeError) as error:
        await found(tmp_path)
    assert "store in the collection streamforge-doctor-" in str(error.value)
    assert "drop" not in str(error.value)


async def test_what_an_earlier_one_left_is_dropped_and_what_another_uses_stays(
    double: ArangoDouble, tmp_path: Path
) -> None:
    now = int(time.time())
    left, used = f"streamforge-doctor-{now - 1000:x}-a", f"streamforge-doctor-{now:x}-b"
    others = [used, "streamforge-doctor-tables", "streamforge-doctor"]
    database = next(found for name, found in double.server.databases.items() if name != "_system")
    for name in (left, *others):
        database.create({"name": name})
    await found(tmp_path)
    assert left not in database.collections
    assert {*others} <= {*database.collections}
