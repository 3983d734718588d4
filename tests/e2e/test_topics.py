"""A topic of another producer, stored by a manager and its worker as processes: killed, stopped, by command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamforge.cli.places import note_origin
from streamforge.manager.origin import TEST, Origin
from streamforge_utils.ports.bus import Message, TopicSpec
from streamforge_utils.runtime.life.context import MessageBus
from tests.cli.support import Cli
from tests.e2e import bus, rig

CONNECTOR = "arango-connector"
BAD = [b"", b"no JSON", b"[1]", b'{"_key":"a/b"}', b'{"a":1,"a":2}', b"\xff\xfe"]


def make(data: Path, topic: str) -> None:
    """Make the topic, as its owner does."""

    async def work(found: MessageBus) -> None:
        await found.create_topic(TopicSpec(name=topic))

    bus.on_bus(data, work)


def write(data: Path, topic: str, values: Sequence[bytes]) -> None:
    bus.send(data, topic, [Message(None, value) for value in values])


def numbered(first: int, end: int) -> list[bytes]:
    return [b'{"_key":"n%08d","n":%d}' % (n, n) if n % 2 else b'{"n":%d}' % n for n in range(first, end)]


def start(manager: rig.Manager, topic: str, **fields: object) -> str:
    answer = manager.api.post("/queues/start-topic", json={"topic": topic, **fields})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def stored(manager: rig.Manager, collection: str) -> list[int]:
    """The numbers in a collection, sorted."""
    return sorted(one["n"] for one in manager.records(collection))


def runs(workflow: rig.Json, number: int) -> bool:
    """Whether the attempt of that number runs."""
    attempts = rig.step(workflow, CONNECTOR)["attempts"]
    return bool(attempts) and attempts[-1]["number"] == number and attempts[-1]["started_at"] is not None


def partition(workflow: rig.Json) -> rig.Json:
    (one,) = workflow["topic_input"]["partitions"]
    return {name: number for name, number in one.items() if number and name not in ("partition", "first")}


@pytest.mark.long
def test_kills_of_sink_and_manager_lose_and_double_nothing(manager: rig.Manager) -> None:
    topic, total = "orders", 60_000
    make(manager.data, topic)
    write(manager.data, topic, numbered(0, total // 2) + BAD)
    queue_id = start(manager, topic, collection_name="orders", until=f"count:{total + len(BAD)}")
    part = total // 6
    for kills in range(3):
        manager.until(queue_id, "an attempt runs", lambda found, number=kills + 1: runs(found, number))  # type: ignore[misc]
        write(manager.data, topic, numbered(total // 2 + kills * part, total // 2 + (kills + 1) * part))
        manager.kill_worker(queue_id, CONNECTOR)
        if kills == 1:
            manager.kill()
            manager.start()
    workflow = manager.finished(queue_id)
    assert stored(manager, "orders") == list(range(total))
    assert partition(workflow) == {"end": total + len(BAD), "stored": total, "dead": len(BAD)}
    assert workflow["topic"] == topic
    assert workflow["coverage"]["complete"] is True
    letters = manager.api.get(f"/queues/{queue_id}/dlq").json()["dead_letters"]
    assert {(one["topic"], one["offset"]) for one in letters} == {(topic, total // 2 + n) for n in range(len(BAD))}
    assert len(bus.read(manager.data, topic)) == total + len(BAD)


def test_it_goes_on_until_it_is_stopped_which_is_its_end(manager: rig.Manager) -> None:
    make(manager.data, "ticker")
    write(manager.data, "ticker", numbered(0, 10))
    queue_id = start(manager, "ticker", until="stop", symbol="ticks", collection_name="ticks")
    manager.until(queue_id, "ten are stored", lambda found: found["progress"]["records_stored"] == 10)
    write(manager.data, "ticker", numbered(10, 20))
    manager.until(queue_id, "twenty are stored", lambda found: found["progress"]["records_stored"] == 20)
    manager.post(f"/queues/{queue_id}/stop")
    workflow = manager.finished(queue_id)
    assert partition(workflow) == {"end": 20, "stored": 20}
    assert workflow["symbol"] == "TICKS"
    assert manager.api.request("DELETE", f"/queues/{queue_id}", params={"data": True}).status_code == 204
    assert "ticks" not in manager.api.get("/collections").text
    assert len(bus.read(manager.data, "ticker")) == 20


def test_one_command_stores_a_topic_and_tells_what_became_of_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli = Cli(capsys, tmp_path / "data")
    make(cli.data, "orders")
    note_origin(cli.data, Origin(TEST, "http://127.0.0.1:1"))  # no exchange is asked for, and none is named
    write(cli.data, "orders", [*numbered(0, 50), *BAD, b'{"n":"fifty"}'])
    schema = tmp_path / "schema.json"
    schema.write_text('{"properties":{"n":{"type":"integer"}}}')
    ran = cli("store", "orders", "--collection", "shop", "--schema", str(schema)).ok()
    assert "50 messages stored, 7 dead" in ran.out
    assert "partition 0, offsets 0 to before 57: 50 stored, 7 dead" in ran.out
    again = cli("store", "orders", "--collection", "shop", "--json").ok().json
    assert (again["status"], again["records_expected"], again["records_stored"]) == ("finished", 57, 51)
    shown = cli("show", again["queue_id"]).ok().out
    assert "topic orders into shop, to where it ends now" in shown
    assert again["queue_id"] in cli("queues").ok().out
    lines = cli("export", "shop", "--format", "jsonl").ok().out.splitlines()
    queue_id = cli("queues", "--json").ok().json["queues"][0]["queue_id"]
    for what, code in (("shop", 2), (queue_id, 1)):
        ran = cli("export", what, "--partition", "day", "--output", str(tmp_path / "set"))
        assert (ran.code, (tmp_path / "set").exists()) == (code, False)
        assert "`streamforge export shop --output shop.jsonl" in ran.err
    assert len(lines) == 51
    assert json.loads(lines[-1])["_key"] == "n00000049"
    assert "its documents stay in shop" in cli("rm", again["queue_id"], "--yes").ok().out
    refused = cli("store", "order", "--collection", "shop")
    assert (refused.code, "did you mean orders" in refused.err) == (2, True)
