"""The routes of models: what is refused, and how a card is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge.analytics.models.model_manifest import MODEL, encoded
from streamforge.manager.analyst_services import analyst_services
from streamforge.manager.api.app import create_app
from streamforge.manager.models.requests import ModelRequest, check_model
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.ports.exchange import SymbolInfo
from tests.manager.api.support import client_of
from tests.manager.memory_service import NOW_MS, MemoryService
from tests.manager.models.published_models import CONTENTS, publish

DEFINITION = {"window": 24, "step": 4, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}}
ASKED: dict[str, Any] = {
    "name": "daily",
    "symbols": ["BTCUSDT", "ETHUSDT", "SOLUSDT"],
    "type": "api_candles_1h",
    "time_range": "2024-07",
    "definition": DEFINITION,
    "horizon": 4,
    "parameters": {"model": "neighbour_mean"},
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"symbols": []}, "symbols"),
    ({"symbols": ["BTCUSDT", "ETHUSDT"]}, "symbols"),
    ({"name": "<script>"}, "model"),
    ({"type": "api_trades"}, "type"),
    ({"time_range": "2124-08"}, "time_range"),
    ({"time_range": "2024-07-08T00:00Z:2024-07-08T03:00Z"}, "time_range"),
    ({"definition": {"colour": "red"}}, "graph"),
    ({"definition": {"interval": "4h"}}, "interval"),
    ({"definition": {"features": ["return_2"]}}, "features"),
    ({"folds": {"colour": 1}}, "folds"),
    ({"folds": {"least_train": 5000}}, "folds"),
    ({"folds": {"purge": 1}}, "purge"),
    ({"seeds": [1, 1]}, "seeds"),
    ({"batch": "batch-x"}, "symbols"),
    ({"parameters": {"model": "oracle"}}, "parameters"),
    ({"parameters": {"device": "rm -rf"}}, "parameters"),
    ({"colour": "red"}, "colour"),
]


@pytest.fixture(autouse=True)
def _listed(service: MemoryService) -> None:
    service.exchange.listed = [SymbolInfo(symbol=one, status="TRADING") for one in ASKED["symbols"]]


@pytest.mark.parametrize(("changes", "field"), REFUSED)
async def test_requests_that_train_no_model_name_the_field(
    service: MemoryService, changes: dict[str, Any], field: str
) -> None:
    async with client_of(create_app(service)) as client:
        answer = await client.post("/models", json={**ASKED, **changes})
    assert answer.status_code == 422, answer.text
    assert field in [one["field"] for one in answer.json()["errors"]], answer.text


def test_what_is_left_out_is_chosen_by_the_interval_and_the_range() -> None:
    def checked(type_name: str, time_range: str) -> tuple[DatasetDefinition, EvaluationSettings]:
        asked = ModelRequest(name="daily", symbols=("A", "B"), type=type_name, time_range=time_range)
        found = check_model(asked, NOW_MS)
        return found.dataset, found.evaluation

    daily, settings = checked("api_candles_1d", "2021:2024")
    assert (daily.horizon, daily.graph.step, daily.graph.window, daily.graph.top_k) == (1, 1, 60, 10)
    assert daily.graph.features == ("return_1", "return_7", "volatility_7", "volume_7")
    assert (settings.folds.test, settings.folds.least_train, settings.seeds) == (109, 364, (0, 1, 2, 3, 4))
    hourly, _ = checked("api_candles_1h", "2024-06")
    assert (hourly.horizon, hourly.graph.step, hourly.graph.window) == (24, 24, 168)


async def test_a_card_is_served_in_each_form_and_the_page_may_run_nothing(
    service: MemoryService, tmp_path: Path
) -> None:
    objects = ObjectFolder(tmp_path)
    deps = msgspec.structs.replace(service.world.deps, objects=objects)
    _, service.models = analyst_services(deps, service._starting, service.batches)
    known, manifest = await publish(deps, ASKED, NOW_MS)
    async with client_of(create_app(service)) as client:
        (listed,) = (await client.get("/models")).json()["models"]
        assert (listed["model"], listed["outcome"], listed["rank_ic"]) == ("daily", "no edge", 0.1)
        shown = (await client.get("/models/daily")).json()
        assert {one["name"] for one in shown["files"]} == {one.name for one in manifest.files.values()}
        assert (await client.get("/models/daily/card")).json() == {}
        told = await client.get("/models/daily/card", params={"form": "md"})
        assert (told.text, told.headers["content-type"]) == ("# no edge", "text/markdown; charset=utf-8")
        page = await client.get("/models/daily/card", params={"form": "html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
        assert "script" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/models/daily/card", params={"form": "exe"})).status_code == 422
        learnt = await client.get("/models/daily/files/model.safetensors")
        assert (learnt.content, learnt.headers["content-type"]) == (CONTENTS[MODEL], "application/octet-stream")
        assert (await client.get("/models/daily/files/card.json")).status_code == 422
        missing = await client.get("/models/dally")
        assert (missing.status_code, missing.json()["did_you_mean"]) == (404, ["daily"])
        await objects.put(known.manifest, encoded(manifest).replace(b'"format": 1', b'"format": 7'))
        refused = await client.get("/models/daily")
        assert "format 7" in refused.text
        assert (await client.delete("/models/daily")).json() == {"model": "daily", "objects_removed": 5}
        assert (await client.get("/models")).json()["models"] == []
        await objects.put(known.manifest, b"of a training that was never finished")
        assert (await client.delete("/models/daily")).json() == {"model": "daily", "objects_removed": 1}
        assert (await client.delete("/models/daily")).status_code == 404
    assert [one.name async for one in objects.list("models/")] == []
