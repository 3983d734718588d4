"""Graphs on a real manager: what lacks is loaded, the graph is made of what is proven, whatever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import streamforge
from tests.e2e import rig
from tests.e2e.rig import Json

BUILDER = "graph-builder"
COINS = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"]
DEFINITION = {
    "window": 24,
    "step": 12,
    "top_k": 2,
    "sign": "any",
    "features": ["return_24", "volume_24"],
    "universe": {"min_volatility": 0},
}
ASKED = {
    "graph": "four",
    "symbols": COINS,
    "type": "api_candles_1h",
    "time_range": "2024-08-03:2024-08-08",
    "definition": DEFINITION,
}


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--no-limits") as found:
        yield found


@pytest.fixture
def manager(exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url) as found:
        yield found


def asked(manager: rig.Manager, **changes: Any) -> str:
    answer = manager.api.post("/graphs", json={**ASKED, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def got(manager: rig.Manager, path: str, **query: str) -> Json:
    found: Json = manager.api.get(path, params=query).raise_for_status().json()
    return found


def test_one_request_loads_what_lacks_and_makes_the_graph_of_what_is_proven(manager: rig.Manager) -> None:
    workflow = manager.finished(asked(manager, load_missing=True))
    assert (workflow["progress"]["records_expected"], workflow["progress"]["records_stored"]) == (10, 10)
    shown = got(manager, "/graphs/four")
    assert (shown["snapshots"], shown["symbols"], shown["queue_id"]) == (10, 4, workflow["queue_id"])
    assert shown["definition"]["window"] == 24
    assert shown["edges"] == sum(one["rows"] for one in shown["files"] if one["table"] == "edges") == 10 * 8
    assert got(manager, "/graphs")["graphs"][0]["graph_id"] == shown["graph_id"]
    told = got(manager, "/graphs/four/snapshots")["snapshots"]
    assert [one["at"] for one in told] == [f"2024-08-0{day}T00:00:00Z" for day in range(3, 8)]
    late = got(manager, "/graphs/four/at/2024-08-05T07:00:00Z")
    assert (late["at"], late["coins"], late["sha256"]) == ("2024-08-05T00:00:00Z", 4, told[2]["sha256"])
    assert {one["symbol"] for one in late["nodes"]} == {*COINS}
    assert {*late["nodes"][0]["values"]} >= {"return_24", "volume_24", "degree", "pagerank"}
    weights = [abs(one["weight"]) for one in late["links"]]
    assert (len(weights), weights) == (8, sorted(weights, reverse=True))
    strong = got(manager, "/graphs/four/at/2024-08-05", least=str(weights[3]), limit="3")["links"]
    assert strong == late["links"][:3]
    # Of the bars before the first snapshot those count that its window and its turnover see.
    segments = got(manager, "/coverage/BTCUSDT/api_candles_1h")["segments"]
    assert segments[0]["start"] == "2024-08-01T11:00:00Z"
    other = manager.api.post("/graphs", json={**ASKED, "definition": {**DEFINITION, "top_k": 1}})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "graph")
    again = manager.finished(asked(manager))
    assert got(manager, "/graphs/four")["graph_id"] == shown["graph_id"]
    known = got(manager, f"/queues/{again['queue_id']}/coverage")
    assert (known["type"], known["complete"], known["segments"]) == ("gnn_graph", True, [])
    refused = manager.api.delete(f"/queues/{workflow['queue_id']}", params={"data": "true"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "data")
    assert manager.api.delete(f"/queues/{workflow['queue_id']}").status_code == 204
    assert got(manager, "/graphs/four")["queue_id"] == again["queue_id"]


@pytest.mark.long
def test_one_that_waits_takes_no_slot_from_those_that_load_for_it(exchange: rig.Exchange, tmp_path: Path) -> None:
    with rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_MAX_RUNNING="1") as manager:
        names = [asked(manager, graph=name, load_missing=True) for name in ("one", "two")]
        assert [manager.finished(name)["status"] for name in names] == ["finished"] * 2


def test_a_builder_and_a_manager_that_are_killed_make_the_same_graph(manager: rig.Manager) -> None:
    manager.finished(asked(manager, load_missing=True))
    whole = got(manager, "/graphs/four")
    assert manager.api.delete("/graphs/four").raise_for_status().json()["objects_removed"] > 0
    assert manager.api.get("/graphs/four").status_code == 404
    queue_id = asked(manager)
    manager.until(queue_id, "its builder runs", lambda one: rig.step(one, BUILDER)["status"] == "running")
    manager.kill()
    for pid in rig.workers_of(manager.data):
        _kill(pid)
    manager.start()
    workflow = manager.finished(queue_id)
    found = got(manager, "/graphs/four")
    assert (found["graph_id"], found["sha256"]) == (whole["graph_id"], whole["sha256"])
    assert found["files"] == whole["files"]
    assert len(rig.step(workflow, BUILDER)["attempts"]) >= 1


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_what_is_not_proven_is_waited_for_or_refused_by_name(manager: rig.Manager) -> None:
    refused = manager.wait(asked(manager, symbols=COINS[:2]))
    assert (refused["status"], refused["failure"]["code"]) == ("error", "input-not-proven")
    assert "BTCUSDT api_candles_1h 2024-08-01T11:00Z:" in refused["failure"]["reason"]
    for symbol in COINS[:2]:
        name = f"{symbol.lower()}_nodes"
        manager.start_load(symbol, "api_candles_1h", "2024-08-01:2024-08-08", collection_name=name)
    manager.post(f"/queues/{refused['queue_id']}/retry")
    assert manager.finished(refused["queue_id"])["progress"]["records_stored"] == 10
    taken = manager.api.post("/graphs", json={**ASKED, "graph": "btcusdt"})
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (422, "graph")
    orders = manager.data / "objects" / "orders"
    assert len([*orders.iterdir()]) == 2
    assert manager.api.delete(f"/queues/{refused['queue_id']}").status_code == 204
    assert not orders.exists()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"symbols": []}, "symbols"),
    ({"symbols": ["BTCUSDT"]}, "symbols"),
    ({"graph": "Four!"}, "graph"),
    ({"type": "api_trades"}, "type"),
    ({"time_range": "2124-08"}, "time_range"),
    ({"definition": {"colour": "red"}}, "graph"),
    ({"definition": {"top_k": 3, "mst": True}}, "top_k"),
    ({"definition": {"top_k": 3, "interval": "4h"}}, "interval"),
    ({"batch": "batch-x"}, "symbols"),
    ({"parameters": {"stored": "never"}}, "parameters"),
]


def test_requests_that_make_no_graph_name_the_field(manager: rig.Manager) -> None:
    for changes, field in REFUSED:
        answer = manager.api.post("/graphs", json={**ASKED, **changes})
        assert answer.status_code == 422, answer.text
        assert field in [one["field"] for one in answer.json()["errors"]], (changes, answer.text)


def said(manager: rig.Manager, *words: str, code: int = 0) -> str:
    """What `streamforge graph WORDS` prints, which asks the manager that runs. code: what it ends with."""
    done = rig.ended("-m", "streamforge.cli", "graph", *words, "--data", str(manager.data))
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_graph_is_built_and_looked_at_by_commands_and_from_python(manager: rig.Manager, tmp_path: Path) -> None:
    rest = ["BTCUSDT,ETHUSDT,BNBUSDT", "api_candles_1d", "2024-08-10:2024-08-14"]
    refused = said(manager, "build", "three", *rest, "--window", "3", code=2)
    assert "window" in refused
    built = ["build", "three", *rest, "--window", "8", "--step", "1", "--top-k", "1", "--feature", "return_3"]
    assert "finished" in said(manager, *built, "--load-missing")
    assert "three" in said(manager, "list")
    shown = json.loads(said(manager, "show", "three", "--json"))
    assert (shown["snapshots"], shown["definition"]["top_k"]) == (4, 1)
    assert "4 snapshots of 3 series" in said(manager, "show", "three")
    assert len(json.loads(said(manager, "metrics", "three", "2024-08-11:2024-08-13", "--json"))["snapshots"]) == 2
    path = "/graphs/three/snapshots"
    page = manager.api.get(path, params={"limit": 3}).raise_for_status().json()
    rest_of_them = manager.api.get(path, params={"limit": 3, "cursor": page["cursor"]}).raise_for_status().json()
    both = page["snapshots"] + rest_of_them["snapshots"]
    assert (len(page["snapshots"]), rest_of_them["cursor"]) == (3, None)
    assert both == json.loads(said(manager, "metrics", "three", "--limit", "100000", "--json"))["snapshots"]
    told = streamforge.graph_history("three", data=manager.data)
    assert [(one.time, one.edges) for one in told] == [(one["time"], one["edges"]) for one in both]
    assert len(streamforge.graph_history("three", "2024-08-11:2024-08-13", data=manager.data)) == 2
    assert "2024-08-12" in said(manager, "edges", "three", "--at", "2024-08-12T09:00Z")
    for ending in ("csv", "graphml", "parquet"):
        said(manager, "export", "three", "--at", "2024-08-12", "--output", str(tmp_path / f"g.{ending}"))
    edges = [line.split(",")[1:] for line in (tmp_path / "g.csv").read_text().splitlines()[1:]]
    root = ElementTree.parse(tmp_path / "g.graphml").getroot()
    named = {"g": "http://graphml.graphdrawing.org/xmlns"}
    assert [one.attrib["source"] for one in root.findall(".//g:edge", named)] == [source for source, _, _ in edges]
    assert len(root.findall(".//g:node", named)) == 3
    found = streamforge.graph("three", "2024-08-12", data=manager.data)
    assert [[link.source, link.target, repr(link.weight)] for link in found.links] == edges
    assert {node.symbol for node in found.nodes} == {"BTCUSDT", "ETHUSDT", "BNBUSDT"}
    with pytest.raises(streamforge.StreamForgeError, match="install"):
        found.to_networkx()
    with pytest.raises(streamforge.StreamForgeError, match="2024-08-10"):
        streamforge.graph("three", "2024-08-01", data=manager.data)
    assert "there is no graph four" in said(manager, "show", "four", code=1)
    assert "removed" in said(manager, "rm", "three", "--yes")
    assert "no graphs" in said(manager, "list")


def test_stop_in_the_midst_ends_it_in_order_and_a_retry_goes_on(manager: rig.Manager) -> None:
    manager.finished(asked(manager, load_missing=True))
    manager.api.delete("/graphs/four").raise_for_status()
    folder = manager.data / "objects" / "graphs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(folder.name)  # leads to itself, which no disk takes: what fails so is tried again for a minute
    queue_id = asked(manager)
    manager.until(queue_id, "its builder cannot go on", lambda one: "making 10 snapshots" in json.dumps(one))
    manager.post(f"/queues/{queue_id}/stop")
    ended = manager.wait(queue_id)
    assert (ended["status"], rig.step(ended, BUILDER)["status"]) == ("interrupted", "interrupted")
    assert manager.api.get("/graphs/four").status_code == 404
    folder.unlink()
    manager.post(f"/queues/{queue_id}/retry")
    manager.finished(queue_id)
    assert got(manager, "/graphs/four")["snapshots"] == 10
