"""Records that can never be stored: kept with their reason, seen, and replayed."""

from __future__ import annotations

import json

import pytest

from streamforge_utils.ports.bus import Message
from tests.e2e import bus, rig
from tests.e2e.rig import LOADER, SINK, step

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
    quiet.switch_on(rig.HELD)
    queue_id = manager.half_loaded("BTCUSDT", "2024-05-01:2024-06-15")
    topic, path = manager.show(queue_id)["topic"], f"/queues/{queue_id}/dlq"
    bus.send(manager.data, topic, [Message(key, value) for key, value in GARBAGE])

    def all_refused() -> rig.Json | None:
        page: rig.Json = manager.api.get(path, params={"limit": 2}).raise_for_status().json()
        return page if page["outstanding"] == 3 else None

    page = rig.eventually(all_refused, "three dead letters", story=lambda: manager.story(queue_id))
    assert manager.show(queue_id)["status"] == "running"
    assert [letter["key"] for letter in page["dead_letters"]] == ["k-1", None]
    quiet.lift_faults()
    workflow = manager.finished(queue_id)
    stored = len(rig.assert_exact(quiet, manager, workflow))
    assert step(workflow, SINK)["progress"]["refused"] == 3

    letters = manager.api.get(path).json()["dead_letters"]
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
    assert all("not a record of candles" in letter["reason"] for letter in letters)
    original = {received.offset: (received.key, received.value) for received in bus.read(manager.data, topic)}
    assert [original[offset] for offset in offsets] == GARBAGE

    # One more, that can be stored by now.
    repaired = record("BTCUSDT", 1_600_000_000_000)
    bus.send(manager.data, f"{topic}-dlq", [Message(repaired["_key"].encode(), json.dumps(repaired).encode())])
    assert manager.post(f"/queues/{queue_id}/dlq/replay")["status"] == "pending"
    replayed = manager.finished(queue_id)
    attempt = rig.latest(replayed, SINK)
    assert (attempt["number"], attempt["last_word"], attempt["exit_code"]) == (2, "finished", 0)
    assert (attempt["progress"]["records"], attempt["progress"]["refused"]) == (1, 3)
    assert len(manager.csv(workflow["collection"])) == 1 + stored + 1

    for number in (1, 2):
        asked = {"step": SINK, "attempt": number}
        (log,) = manager.api.get(f"/queues/{queue_id}/logs", params=asked).raise_for_status().json()["logs"]
        assert {json.loads(line)["attempt"] for line in log["text"].splitlines()} == {number}, (
            "each has a log of its own"
        )

    again = manager.api.get(path).json()["dead_letters"]
    assert [(letter["topic"], letter["offset"], letter["value"]) for letter in again] == [
        (letter["topic"], letter["offset"], letter["value"]) for letter in letters
    ], "what was refused again still says where it was read first"
    assert [letter["attempt"] for letter in again] == [2, 2, 2]
    assert len(step(replayed, LOADER)["attempts"]) == 1, "nothing was loaded again"
    assert replayed["coverage"]["complete"] is True


def record(symbol: str, open_time: int) -> rig.Json:
    """A candle as loaders send it."""
    names = ("open", "high", "low", "close", "volume", "quote_asset_volume")
    text = dict.fromkeys((*names, "taker_buy_base_asset_volume", "taker_buy_quote_asset_volume"), "1.50000000")
    return {
        "_key": f"{symbol}_1m_{open_time}",
        "symbol": symbol,
        "interval": "1m",
        "open_time": open_time,
        "close_time": open_time + 59_999,
        "number_of_trades": 1,
        **text,
    }
