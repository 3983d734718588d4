"""A recorded order book, through loader, bus, sink and store into segments and an export, field by field."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

from streamforge.exchange.config import instant_ms
from tests.e2e import rig
from tests.e2e.rig import Json
from tests.e2e.stored_books import LOADER, SINK, read_diffs, start
from tests.e2e.test_recorded_streams import FIRST, THEN
from tests.exchange.books import PlainBook

NOW = "2024-08-08T23:54:00Z"
FASTER = 200
PARAMETERS = {LOADER: {"top_seconds": 5, "checkpoint_seconds": 30}, SINK: {"segment_seconds": 1}}


def recorded(folder: Path) -> tuple[Json, list[Json]]:
    """The first snapshot, and all diffs, each once."""
    snapshots, diffs = list[Json](), dict[int, Json]()
    for name in (FIRST, THEN):
        for line in gzip.decompress((folder / name).read_bytes()).splitlines():
            body = json.loads(line[line.index(b"{") :])
            if "lastUpdateId" in body:
                snapshots.append(body)
            elif body["stream"].endswith("@depth@100ms"):
                diffs[body["data"]["u"]] = body["data"]
    return snapshots[0], [one for _, one in sorted(diffs.items())]


def numbers(levels: list[list[str]]) -> list[tuple[float, float]]:
    return [(float(price), float(quantity)) for price, quantity in levels]


def test_what_was_recorded_is_stored_and_exported(market_data: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "replay").mkdir()
    for name in (FIRST, THEN):
        shutil.copy(market_data / name, folder)
    snapshot, diffs = recorded(market_data)
    diffs = [one for one in diffs if one["E"] > instant_ms(NOW)]
    with (
        rig.exchange("--replay", str(folder), "--now", NOW, "--speed", "0", "--no-limits") as exchange,
        rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_COMPARE_SECONDS="0.2") as manager,
    ):
        queue_id = start(manager, parameters=PARAMETERS)
        rig.eventually(lambda: True if exchange.stats()["streams"]["open"] else None, "the loader listens")
        exchange.set_pace(speed=FASTER)
        last = diffs[-1]["u"]
        manager.until(queue_id, "all is proven", lambda one: (one["live"]["proven_id"] or 0) >= last)
        manager.post(f"/queues/{queue_id}/stop")
        workflow = manager.finished(queue_id)
        segments = manager.coverage(queue_id)
        stored = read_diffs(manager, "BTCUSDT")
        records = manager.records(workflow["collection"])
    assert {one["verdict"] for one in segments} == {"stored"}
    doubts = {one.get("cause", "") for one in segments}
    assert {one.partition(":")[0] for one in doubts} <= {"", "unverifiable"}  # snapshots are late on a loaded machine
    expected = [one for one in diffs if one["u"] >= stored[0].last_id]
    assert len(expected) > 3000
    assert workflow["progress"]["records_stored"] == len(expected) == len(stored)
    for one, told in zip(stored, expected, strict=True):
        assert (one.first_id, one.last_id, one.time_ms, one.symbol) == (told["U"], told["u"], told["E"], told["s"])
        assert (list(one.bids), list(one.asks)) == (numbers(told["b"]), numbers(told["a"]))
    books = {one["last_update_id"]: one for one in records if "known_low" in one}
    tops = {one["last_update_id"]: one for one in records if "bids" in one and "known_low" not in one}
    assert len(tops) > 100
    assert len(books) > 10
    book, compared = PlainBook(snapshot), 0
    for diff in diffs:
        if diff["u"] <= book.last:
            continue
        book.apply(diff)
        for found in (one[diff["u"]] for one in (books, tops) if diff["u"] in one):
            assert (found["timestamp"], found["symbol"]) == (diff["E"], "BTCUSDT")
            for side, levels in zip(("bids", "asks"), book.sides(), strict=True):
                best = [tuple(level) for level in found[side]]
                assert best == numbers(levels[: len(best)])
            compared += 1
    assert compared == len(tops) + len(books)
