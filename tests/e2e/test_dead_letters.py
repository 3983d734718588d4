"""Records that can never be stored: kept with their reason, seen, and replayed."""

from __future__ import annotations

import json

import pytest

from streamforge_utils.ports.bus import Message
from tests.e2e import bus, rig

SINK = "arango-candles"
SLOW = "slow:ms=400,path=klines"
GARBAGE = [
    (b"k-1", b"this is no JSON"),
    (None, b"\xff\xfe\x00"),
    (b"BTCUSDT_1m_1714521600000", b'{"_key": "BTCUSDT_1m_1714521600000", "symbol": "BTCUSDT"}'),
]


@pytest.fixture(autouse=True)
def _quiet(quiet: rig.Exchange) -> None:
    """Each test begins without faults."""


def test_what_cannot_be_stored_is_kept_with_its_reason_and_can_be_replayed(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on(SLOW)
    queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2024-05-01:2024-05-15")["queue_id"]
    found = manager.until(queue_id, "some is stored", lambda w: bool(_sink(w)["records"]))
    topic = found["topic"]
    repaired = record("BTCUSDT", 1_600_000_000_000)
    bus.send(manager.data, topic, [Message(key, value) for key, value in GARBAGE])
    workflow = manager.wait(queue_id)
    assert workflow["status"] == "finished", manager.story(queue_id)
    rows = quiet.oracle("BTCUSDT", "1m", workflow["time_range"]["start_ms"], workflow["time_range"]["end_ms"])
    lines = rig.expected_csv("BTCUSDT", "1m", rows)
    assert manager.csv(workflow["collection"]) == lines
    assert _sink(workflow)["progress"]["refused"] == 3

    letters = manager.api.get(f"/queues/{queue_id}/dlq").json()["dead_letters"]
    assert [letter["value"] for letter in letters] == [
        "this is no JSON",
        "//4A",
        GARBAGE[2][1].decode(),
    ]
    assert [letter["key"] for letter in letters] == ["k-1", None, "BTCUSDT_1m_1714521600000"]
    assert [letter["encoding"] for letter in letters] == ["utf-8", "base64", "utf-8"]
    assert all(letter["topic"] == topic and letter["attempt"] == 1 for letter in letters)
    offsets = [letter["offset"] for letter in letters]
    assert offsets == list(range(offsets[0], offsets[0] + 3))
    assert offsets[0] > 0
    assert "`interval`" in letters[2]["reason"], "the missing field is named"
    assert all("not a candle" in letter["reason"] for letter in letters)
    original = {received.offset: (received.key, received.value) for received in bus.read(manager.data, topic)}
    assert [original[offset] for offset in offsets] == GARBAGE

    # One more, that can be stored by now.
    bus.send(manager.data, f"{topic}-dlq", [Message(repaired["_key"].encode(), json.dumps(repaired).encode())])
    assert manager.post(f"/queues/{queue_id}/dlq/replay")["status"] == "pending"
    replayed = manager.wait(queue_id)
    assert replayed["status"] == "finished", manager.story(queue_id)
    attempt = _sink(replayed)["attempts"][-1]
    assert (attempt["number"], attempt["last_word"], attempt["exit_code"]) == (2, "finished", 0)
    assert (attempt["progress"]["records"], attempt["progress"]["refused"]) == (1, 3)
    assert len(manager.csv(workflow["collection"])) == len(lines) + 1

    again = manager.api.get(f"/queues/{queue_id}/dlq").json()["dead_letters"]
    assert [(letter["topic"], letter["offset"], letter["value"]) for letter in again] == [
        (letter["topic"], letter["offset"], letter["value"]) for letter in letters
    ], "what was refused again still says where it was read first"
    assert [letter["attempt"] for letter in again] == [2, 2, 2]
    assert replayed["steps"][1]["role"] == "loader"
    assert len(replayed["steps"][1]["attempts"]) == 1, "nothing was loaded again"
    assert replayed["coverage"]["complete"] is True


def test_while_a_workflow_runs_its_dead_letters_are_seen(quiet: rig.Exchange, manager: rig.Manager) -> None:
    quiet.switch_on(SLOW)
    queue_id = manager.start_load("BTCUSDT", "api_candles_1m", "2023-01-01:2024-01-01")["queue_id"]
    found = manager.until(queue_id, "some is stored", lambda w: bool(_sink(w)["records"]))
    bus.send(manager.data, found["topic"], [Message(key, value) for key, value in GARBAGE])
    path = f"/queues/{queue_id}/dlq"

    def all_refused() -> rig.Json | None:
        page: rig.Json = manager.api.get(path, params={"limit": 2}).raise_for_status().json()
        return page if page["outstanding"] == 3 else None

    page = rig.eventually(all_refused, "three dead letters", story=lambda: manager.story(queue_id))
    assert manager.show(queue_id)["status"] == "running"
    assert [letter["key"] for letter in page["dead_letters"]] == ["k-1", None]
    assert len(manager.api.get(path).json()["dead_letters"]) == 3
    manager.post(f"/queues/{queue_id}/stop")
    assert manager.wait(queue_id)["status"] == "interrupted"


def test_there_is_nothing_to_replay_where_nothing_was_refused(manager: rig.Manager) -> None:
    workflow = manager.load("ETHUSDT", "api_candles_1h", "2024-05-01")
    assert manager.api.get(f"/queues/{workflow['queue_id']}/dlq").json()["dead_letters"] == []
    answer = manager.api.post(f"/queues/{workflow['queue_id']}/dlq/replay")
    assert answer.status_code == 409
    assert "no dead letters" in answer.json()["detail"]
    assert manager.show(workflow["queue_id"])["status"] == "finished"


def record(symbol: str, open_time: int) -> rig.Json:
    """A candle as loaders send it."""
    text = dict.fromkeys(
        (
            "open",
            "high",
            "low",
            "close",
            "volume",
            "quote_asset_volume",
            "taker_buy_base_asset_volume",
            "taker_buy_quote_asset_volume",
        ),
        "1.50000000",
    )
    return {
        "_key": f"{symbol}_1m_{open_time}",
        "symbol": symbol,
        "interval": "1m",
        "open_time": open_time,
        "close_time": open_time + 59_999,
        "number_of_trades": 1,
        **text,
    }


def _sink(workflow: rig.Json) -> rig.Json:
    found: rig.Json = next(step for step in workflow["steps"] if step["target"] == SINK)
    return found
