"""Records that vanish from the store and files of it that are damaged, as commands and a verification find them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.cli.support import COLLECTION, MINUTE_MS, START_MS, TYPE, Cli, Json
from tests.doubles.candles import candle_key

pytestmark = pytest.mark.e2e

SIX_HOURS, THREE_HOURS = "2024-08-01:2024-08-01T06:00Z", "2024-08-01T01:00Z:2024-08-01T04:00Z"


@pytest.fixture
def decayed(copied: Cli) -> Cli:
    """The command on six hours of which the minutes 100 to 120 were removed behind its back."""
    first, last = (candle_key("BTCUSDT", "1m", START_MS + n * MINUTE_MS) for n in (100, 121))

    async def lose() -> None:
        store = EmbeddedStore(copied.data / "store")
        assert await store.delete(COLLECTION, first=first, last=last) == 21
        await store.close()

    asyncio.run(lose())
    return copied


def test_verifying_counts_marks_and_says_it_and_a_load_brings_it_back(decayed: Cli) -> None:
    assert decayed("coverage", "BTCUSDT", TYPE, SIX_HOURS).code == 0, "nobody has counted yet"
    whole = decayed("export", "BTCUSDT", TYPE, "2024-08-01T03:00Z:2024-08-01T04:00Z").ok()
    assert whole.out.count("\n") == 61, "what lacks nothing is exported all the same"
    ran = decayed("coverage", "BTCUSDT", TYPE, SIX_HOURS, "--verify")
    assert ran.code == 1
    assert f"gone: 2024-08-01T01:40Z to 2024-08-01T02:01Z: 21 records that were in {COLLECTION}" in ran.err
    assert (
        "counted in the ranges that coverage calls stored: 339 records; 21 records that had been proven are gone\n"
        in ran.err
    )
    load = f"streamforge load BTCUSDT {TYPE} 2024-08-01T01:40Z:2024-08-01T02:01Z --data {decayed.data}"
    assert ran.err.count("streamforge load") == ran.err.count(load) == 1
    known = decayed("coverage", "BTCUSDT", TYPE, SIX_HOURS, "--json")
    assert known.code == 1
    assert [(s["verdict"], s["records"]) for s in known.json["segments"]] == [
        ("stored", 100),
        ("ours", 0),
        ("stored", 239),
    ]
    again = decayed.load("BTCUSDT", TYPE, SIX_HOURS)
    assert (again["status"], again["records_expected"], again["records_stored"]) == ("finished", 360, 360)
    assert again["records_there"] == 339
    verified = decayed("coverage", "BTCUSDT", TYPE, "--verify", "--json").ok().json
    assert (verified["records_counted"], verified["records_missing"], verified["gaps"]) == (360, 0, [])


def test_a_finished_workflow_says_what_is_there_now_and_when_it_was_proven(decayed: Cli) -> None:
    queue_id = decayed("queues", "--json").ok().json["queues"][0]["queue_id"]
    proven = decayed("show", queue_id, "--json").ok().json
    assert (proven["status"], proven["progress"]["records_stored"]) == ("finished", 360)
    assert proven["proven_at"] == proven["coverage"]["checked_at"]
    assert "it was complete when it was proven" not in decayed("show", queue_id).ok().out
    verified = decayed("coverage", queue_id, "--verify", "--json")
    assert (verified.code, verified.json["records_counted"], verified.json["records_missing"]) == (1, 339, 21)
    now = decayed("show", queue_id, "--json").ok().json
    assert (now["status"], now["proven_at"]) == ("finished", proven["proven_at"])
    assert (now["progress"]["records_expected"], now["progress"]["records_stored"]) == (360, 339)
    assert now["progress"]["share"] == pytest.approx(339 / 360)
    assert (now["coverage"]["complete"], now["coverage"]["records_stored"]) == (False, 339)
    assert {one["verdict"]: one["records"] for one in now["coverage"]["verdicts"]} == {"stored": 339, "ours": 0}
    assert decayed("queues", "--json").ok().json["queues"][0]["progress"]["records_stored"] == 339
    listed = decayed("queues").ok()
    assert " finished, 21 fewer " in listed.out
    assert f"fewer records than the range could hold: {queue_id}; `streamforge show QUEUE_ID --data" in listed.err
    waited = decayed("wait", queue_id)
    assert waited.code == 1
    assert f"{queue_id} had finished, and not all that it had proven is there: 339 of 360 records stored" in waited.out
    assert f"load it with `streamforge load BTCUSDT {TYPE} {SIX_HOURS} --data" in waited.err
    shown = decayed("show", queue_id).ok().out
    assert "  339 of 360 (94 %)\n" in shown
    assert "and is not now: what is `ours` is gone" in " ".join(shown.split())
    assert f"load it with `streamforge load BTCUSDT {TYPE} {SIX_HOURS} --data" in " ".join(shown.split())
    decayed.load("BTCUSDT", TYPE, SIX_HOURS)
    again = decayed("show", queue_id, "--json").ok().json
    assert (again["progress"]["records_stored"], again["coverage"]["complete"]) == (360, True)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("what", [("BTCUSDT", TYPE, SIX_HOURS), ("BTCUSDT", TYPE, THREE_HOURS), (COLLECTION,), ()])
def test_no_export_of_less_than_was_proven_succeeds(decayed: Cli, what: tuple[str, ...], form: str) -> None:
    if not what:
        what = (decayed("queues", "--json").ok().json["queues"][0]["queue_id"],)
    file = decayed.data.parent / f"out.{form}"
    ran = decayed("export", *what, "--format", form, "-o", str(file))
    assert ran.code == 1
    of = 180 if THREE_HOURS in what else 360
    assert f"lacks 21 of {of}" in ran.err
    assert ran.err.count(f"`streamforge coverage BTCUSDT {TYPE} --verify --data {decayed.data}`") == 1
    assert "POST" not in ran.err
    assert list(file.parent.iterdir()) == [decayed.data], "no partial file"


def test_of_a_series_that_has_lost_all_the_hole_counts_and_an_export_says_what_happened(decayed: Cli) -> None:
    [file] = (decayed.data / "store" / "documents").glob(f"{COLLECTION}*.db")
    file.unlink()
    decayed("coverage", "BTCUSDT", TYPE, "--verify")
    [series] = decayed("series", "--json").ok().json["series"]
    assert (series["start"], series["records"], series["holes"], series["complete"]) == (None, 0, 1, False)
    assert "1, not complete" in decayed("series").ok().out
    queue_id = decayed("queues", "--json").ok().json["queues"][0]["queue_id"]
    exported = decayed("export", queue_id)
    assert (exported.code, exported.out) == (1, "")
    assert re.fullmatch(
        f"streamforge: nothing of {queue_id} is stored: it was complete when it was proven, .*, and is not now: what "
        "is `ours` is gone, and what is `unknown` was removed; load it with `streamforge load "
        f"BTCUSDT {TYPE} {SIX_HOURS} --data {decayed.data}.*`\n",
        exported.err,
    ), exported.err
    ranged = decayed("export", "BTCUSDT", TYPE, SIX_HOURS)
    assert ranged.code == 1
    assert "is stored: 2024-08-01 to 2024-08-01T06:00Z: ours (" in ranged.err
    assert f"; load it with `streamforge load BTCUSDT {TYPE} {SIX_HOURS} --data {decayed.data}" in ranged.err


def _overwritten(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _without_its_table(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE documents")


def _at_the_end(path: Path) -> None:
    """Of the file: its first document can be read."""
    with path.open("r+b") as file:
        file.seek(-16_384, os.SEEK_END)
        file.write(b"\xff" * 16_384)


def _check(cli: Cli, part: str) -> Json:
    """What doctor says of the part."""
    [found] = [check for check in cli("doctor", "--json").json["checks"] if check["part"] == part]
    return dict(found)


@pytest.mark.parametrize(
    ("damage", "cannot", "why"),
    [
        (_overwritten, "open", "file is not a database)"),
        (_without_its_table, "read", "no such table: documents)"),
        (_at_the_end, "read", ""),
    ],
)
def test_a_broken_collection_is_named_by_every_command(
    copied: Cli, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], cannot: str, why: str
) -> None:
    [broken] = (copied.data / "store" / "documents").glob(f"{COLLECTION}.*.db")
    damage(broken)
    told = f"{broken}: the file is broken or was not written by StreamForge ({why}"
    commands = [("export", "BTCUSDT", TYPE), ("coverage", "BTCUSDT", TYPE, "--verify")]
    for command in commands if why else commands[:1]:
        ran = copied(*command)
        assert ran.code == 1, command
        assert told in ran.err
        assert not why or "its content is lost then; once that is done, send the same request again" in ran.err
    store = _check(copied, "store")
    assert store["verdict"] == "fails"
    assert f"cannot be read: cannot {cannot} {told}" in store["detail"]
    assert store["detail"].startswith("1 of ")
    if damage is _at_the_end:
        monkeypatch.setattr("streamforge.cli.checks.store_check.READ_WITHIN_S", 0.0)
        store = _check(copied, "store")
        assert re.search(r"; (\d) collections?, \1 of them read in part only$", store["detail"])
        assert (store["verdict"], store["next_step"]) == ("works", "`streamforge backup` reads all of them")


@pytest.mark.parametrize("topic", ["queue-control", "queue-events"])
@pytest.mark.parametrize("file", ["log", "groups"])
def test_a_broken_topic_that_every_command_needs_fails(copied: Cli, topic: str, file: str) -> None:
    [broken] = (copied.data / "bus" / "topics" / topic).glob(f"{file}-*.db")
    _overwritten(broken)
    bus = _check(copied, "bus")
    assert bus["verdict"] == "fails"
    assert str(broken) in bus["detail"]
