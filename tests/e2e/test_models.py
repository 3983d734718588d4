"""Models on a real manager: what lacks is loaded, models are compared on what is proven, and one is published."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import rig
from tests.e2e.rig import Json

TRAINER = "gnn-trainer"
COINS = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"]
DEFINITION = {"window": 24, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}}
ASKED = {
    "name": "m",
    "symbols": COINS,
    "type": "api_candles_1h",
    "time_range": "2024-08-08:2024-08-30",
    "definition": {**DEFINITION, "step": 4},
    "horizon": 4,
    "seeds": [0, 1],
    "parameters": {"model": "neighbour_mean"},
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
    answer = manager.api.post("/models", json={**ASKED, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def got(manager: rig.Manager, path: str) -> Json:
    found: Json = manager.api.get(path).raise_for_status().json()
    return found


def said(manager: rig.Manager, *words: str, code: int = 0) -> str:
    """What `streamforge models WORDS` prints, which asks the manager that runs. code: what it ends with."""
    done = rig.ended("-m", "streamforge.cli", "models", *words, "--data", str(manager.data))
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
def test_one_command_goes_from_nothing_to_a_card(manager: rig.Manager, tmp_path: Path) -> None:
    refused = manager.wait(asked(manager, symbols=COINS[:3]))
    assert (refused["status"], refused["failure"]["code"]) == ("error", "input-not-proven")
    assert "of what m sees" in refused["failure"]["reason"]
    rest = [",".join(COINS), "api_candles_1h", "2024-08-08:2024-08-30", "--model", "neighbour_mean", "--seeds", "2"]
    definition = tmp_path / "graph.json"
    definition.write_text(json.dumps(DEFINITION))
    rest += ["--step", "4", "--horizon", "4", "--definition", str(definition)]
    assert "finished" in said(manager, "train", "m", *rest, "--load-missing")
    (listed,) = json.loads(said(manager, "list", "--json"))["models"]
    assert (listed["model"], listed["kind"], listed["symbols"]) == ("m", "neighbour_mean", 4)
    assert listed["outcome"] in said(manager, "list")
    shown = json.loads(said(manager, "show", "m", "--json"))
    assert shown["evaluation"]["seeds"] == [0, 1]
    assert shown["definition"]["features"] == ["return_24", "return_168", "volatility_168", "volume_168"]
    assert shown["run_id"] in said(manager, "show", "m")
    assert "## Switchboard" in said(manager, "card", "m")
    said(manager, "card", "m", "--output", str(tmp_path / "card.html"))
    page = (tmp_path / "card.html").read_bytes()
    objects = manager.data / "objects"
    for file in shown["files"]:
        content = (objects / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
    assert page == (objects / next(one["name"] for one in shown["files"] if one["name"].endswith(".html"))).read_bytes()
    answer = manager.api.get("/models/m/card", params={"form": "html"})
    assert (answer.content, answer.headers["content-type"]) == (page, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "sandbox" in answer.headers["content-security-policy"]
    card = manager.api.get("/models/m/card").json()
    assert card["verdict"]["outcome"] == listed["outcome"]
    assert [one["model"] for one in card["series"]["models"]] == [
        *dict.fromkeys(one["model"] for one in card["scores"])
    ]
    _scored(manager)
    known = got(manager, f"/queues/{listed['queue_id']}/coverage")
    assert (known["type"], known["complete"]) == ("gnn_train", True)
    assert "removed" in said(manager, "rm", "m", "--yes")
    assert not (objects / "models").exists() or not [*(objects / "models").rglob("*.*")]
    assert "there is no model m" in said(manager, "show", "m", code=1)
    assert "no models" in said(manager, "list")


def _scored(manager: rig.Manager) -> None:
    """Scores of what came after the training, which is loaded first; what is scored already is not scored again."""
    refused = manager.api.post("/models/m/scores", json={"time_range": "2024-08-31", "since": "last"})
    assert refused.status_code == 422
    day = "2024-08-30:2024-08-31"
    told = said(manager, "score", "m", day, "--load-missing")
    assert "6 of 6 moments of model m" in told
    answer = manager.api.post("/models/m/scores", json={"since": "last"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["time_range"]["start"] == "2024-08-31T00:00:00Z"
    assert manager.wait(answer.json()["queue_id"])["failure"]["code"] == "input-not-proven"


def test_a_batch_gives_its_symbols_to_a_graph_and_to_a_model_which_wait_for_its_end(
    manager: rig.Manager, tmp_path: Path
) -> None:
    series = {"symbols": COINS, "type": "api_candles_1h", "time_range": "2024-07-25:2024-08-30"}
    batch = manager.api.post("/batches", json=series).raise_for_status().json()["batch_id"]
    of_batch = {"batch": batch, "type": "api_candles_1h", "time_range": "2024-08-08:2024-08-30"}
    graph = manager.api.post("/graphs", json={**of_batch, "graph": "g", "definition": {**DEFINITION, "step": 24}})
    model = asked(manager, **of_batch, symbols=[], seeds=[0])
    refused = manager.api.post("/models", json={**ASKED, "seeds": [1]})
    assert (refused.status_code, model in refused.text) == (422, True), "another training is under way by that name"
    manager.finished(graph.raise_for_status().json()["queue_id"])
    manager.finished(model)
    assert got(manager, f"/batches/{batch}")["status"] == "finished"
    assert (got(manager, "/graphs/g")["symbols"], got(manager, "/models/m")["symbols"]) == (4, 4)
    nodes = {one["symbol"] for one in got(manager, "/graphs/g/at/2024-08-20")["nodes"]}
    assert nodes == {*COINS}
    files = {Path(one["name"]).name: one["sha256"] for one in got(manager, "/models/m")["files"]}
    for file in ("model.safetensors", "predictions.parquet"):
        said(manager, "export", "m", "--output", str(tmp_path / file))
        assert hashlib.sha256((tmp_path / file).read_bytes()).hexdigest() == files[file]
    assert "streamforge-market-data[onnx]" in said(manager, "export", "m", "-o", str(tmp_path / "m.onnx"), code=2)
    assert ".safetensors" in said(manager, "export", "m", "-o", str(tmp_path / "m.exe"), code=1)


@pytest.mark.long
def test_one_request_loads_fifty_symbols_and_trains_on_their_graph(tmp_path: Path) -> None:
    with (
        rig.exchange("--no-limits", "--symbols", "120") as exchange,
        rig.manager(tmp_path / "data", exchange.url) as manager,
    ):
        listed = httpx.get(f"{exchange.url}/api/v3/exchangeInfo").json()["symbols"]
        fifty = [one["symbol"] for one in listed if one["status"] == "TRADING" and one["symbol"].endswith("USDT")][:50]
        wide = {"symbols": fifty, "type": "api_candles_1d", "time_range": "2024-03:2024-07", "horizon": 1}
        definition = {"window": 20, "universe": {"min_volatility": 0}}
        workflow = manager.finished(asked(manager, **wide, definition=definition, load_missing=True))
        shown = got(manager, "/models/m")
        assert (len(fifty), shown["symbols"], shown["queue_id"]) == (50, 50, workflow["queue_id"])
        (batch,) = got(manager, "/batches")["batches"]
        assert (batch["status"], batch["size"]) == ("finished", 50)
        card = got(manager, "/models/m/card")
        assert card["coins"][1] > 30


@pytest.mark.long
def test_a_trainer_and_a_manager_that_are_killed_publish_the_same_model(manager: rig.Manager) -> None:
    manager.finished(asked(manager, load_missing=True))
    whole = got(manager, "/models/m")
    manager.api.delete("/models/m").raise_for_status()
    queue_id = asked(manager)
    manager.until(queue_id, "its trainer runs", lambda one: _parts(one) > 0)
    _kill_workers(manager)
    manager.until(queue_id, "it has gone on", lambda one: _parts(one) > 5)
    manager.kill()
    _kill_workers(manager)
    manager.start()
    workflow = manager.finished(queue_id)
    assert len(rig.step(workflow, TRAINER)["attempts"]) >= 2
    found = got(manager, "/models/m")
    assert {name: found[name] for name in ("run_id", "predictions_sha256", "files")} == {
        name: whole[name] for name in ("run_id", "predictions_sha256", "files")
    }


def _parts(workflow: Json) -> int:
    step = rig.step(workflow, TRAINER)
    if workflow["status"] == "finished":
        return 10**6
    told = re.match(r"training: (\d+) of", (step.get("progress") or {}).get("waiting") or "")
    return int(told[1]) if told is not None and step["status"] == "running" else 0


def _kill_workers(manager: rig.Manager) -> None:
    for pid in rig.workers_of(manager.data):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
