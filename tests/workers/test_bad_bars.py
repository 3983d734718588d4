"""Bad input that analysts find in the store: what is wrong is named, and what to do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from streamforge.analytics.models.model_manifest import checkpoints_of
from streamforge.workers import gnn_trainer, graph_builder
from streamforge_utils.model.kinds.registry import kind_of, series_of
from streamforge_utils.ports.store import Document
from tests.analytics.graphs.random_markets import drawn_market
from tests.analytics.models.markets import DAY_MS, START_MS, definition
from tests.runtime.rig import Rig, last
from tests.workers.test_gnn_scoring import OBJECT, ScorerRig
from tests.workers.test_graph_builder import DAILY, DAYS, Builder
from tests.workers.trainer_rig import TrainerRig

MEND = "mend or remove the bar"
NO_BAR = "remove it, and load what it stands for"
COUNT = "count them with `streamforge coverage"
BARS: list[tuple[dict[str, Any] | None, str]] = [
    ({"close": "NaN"}, NO_BAR),
    ({"close": None}, NO_BAR),
    ({"close": 0.0}, f"has a close that is no price: {MEND}"),
    ({"quote_asset_volume": -1.0}, f"has a quote volume that is no amount: {MEND}"),
    ({"off": 60_000}, "is not on the grid of the bars: name series of one interval"),
    (None, COUNT),
]
"""What the fields of a bar become; None: it is gone."""


async def spoil(rig: Rig, symbol: str, type_name: str, time: int, changes: dict[str, Any] | None) -> None:
    """Change the stored bar; off: how much later it opens than its key says."""
    series = series_of(symbol, type_name)
    key = kind_of(series).key(series, time)
    (document,) = await rig.stored.read("bars", first=key, limit=1)
    body = json.loads(document.body)
    await rig.stored.delete_keys("bars", [key])
    if changes is not None:
        spoilt = {**body, **changes, "open_time": body["open_time"] + changes.get("off", 0)}
        await rig.stored.upsert("bars", [Document(key, 2, msgspec.json.encode(spoilt))])


async def _reason(rig: Rig, code: int) -> str:
    worker: Any = graph_builder.DEFINITION if isinstance(rig, Builder) else gnn_trainer.DEFINITION
    assert await rig.live(worker) == code
    event, _ = last(await rig.events())
    assert event.event == "error"
    await rig.close()
    return event.error_message or ""


@pytest.mark.parametrize(("changes", "words"), BARS)
async def test_a_graph_names_the_bar_that_is_none(tmp_path: Path, changes: dict[str, Any] | None, words: str) -> None:
    rig, market = Builder(tmp_path), drawn_market(Random(3), DAILY, DAYS * 24)
    await rig.prepare()
    await rig.fill(market)
    symbol = min(market)
    time = [*market[symbol]][70]
    await spoil(rig, symbol, "api_candles_1h", time, changes)
    await rig.order(market)
    _named(await _reason(rig, 1), words, symbol, time + (changes or {}).get("off", 0))


@pytest.mark.e2e
@pytest.mark.parametrize(("changes", "words"), [*BARS, ({"open": 0.0}, f"has an open that is no price: {MEND}")])
async def test_a_model_names_the_bar_that_is_none(tmp_path: Path, changes: dict[str, Any] | None, words: str) -> None:
    rig, time = TrainerRig(tmp_path), START_MS + 60 * DAY_MS
    await rig.prepare()
    await rig.fill()
    await spoil(rig, "C000USDT", "api_candles_1d", time, changes)
    _named(await _reason(rig, 1), words, "C000USDT", time + (changes or {}).get("off", 0))


def _named(reason: str, words: str, symbol: str, time: int) -> None:
    assert words in reason
    assert symbol in reason
    if words.endswith(MEND):
        assert f"the bar at {time} (unix ms)" in reason


async def test_a_window_longer_than_the_data_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill(dataset=definition(window=500))
    reason = await _reason(rig, 1)
    assert "a window of 500 returns asks for 451 bars of a coin, and C005USDT has most of all" in reason
    assert "choose a shorter window, or a time range of which there are more bars" in reason


@pytest.mark.e2e
async def test_prices_that_all_stand_still_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    order = await rig.fill()
    for symbol in order.inputs:
        for time in range(START_MS, order.end_ms, DAY_MS):
            await spoil(rig, symbol, "api_candles_1d", time, dict.fromkeys(("open", "close"), 1.0))
    reason = await _reason(rig, 1)
    assert "three coins with returns that differ: their prices stand still" in reason
    assert "name other coins, or widen the rules" in reason
    assert [one.name async for one in rig.objects.list(checkpoints_of(order.name))] == []


@pytest.mark.parametrize("made", [TrainerRig, ScorerRig])
async def test_without_torch_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: type[TrainerRig]
) -> None:
    """There is no order: who looked for it would say so."""
    rig = made(tmp_path)
    await rig.prepare()
    rig.environment["STREAMFORGE_MODEL"] = "gat"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    assert "torch is not installed, which model gat needs: install streamforge-market-data[gnn]" in await _reason(
        rig, 2
    )


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            {"format": 7},
            "is a model of format 7, and this version knows 1: take the StreamForge that made it, or train",
        ),
        ({}, "is no model of StreamForge"),
    ],
)
async def test_a_model_of_another_version_is_refused_by_name(tmp_path: Path, head: dict[str, Any], words: str) -> None:
    rig = ScorerRig(tmp_path)
    await rig.prepare()
    await rig.order()
    await rig.objects.put(OBJECT, save({"weights": np.zeros(8)}, {"streamforge": json.dumps(head)}))
    reason = await _reason(rig, 1)
    assert f"the object {OBJECT} {words}" in reason
    assert "train it again" in reason
