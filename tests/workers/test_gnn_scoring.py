"""Scores of a published model: of what was closed by each moment, and the same whenever they are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from streamforge.analytics.graphs.order import order_name
from streamforge.analytics.models.model_file import ModelHead, write_model
from streamforge.analytics.models.scoring_order import ScoringOrder
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters
from streamforge.workers.gnn_trainer import DEFINITION
from streamforge_utils.ports.store import Document
from tests.analytics.models.markets import DAY_MS, START_MS, definition
from tests.runtime.rig import QUEUE, last
from tests.workers.trainer_rig import TYPE, TrainerRig

FIRST, END = START_MS + 60 * DAY_MS, START_MS + 70 * DAY_MS
OBJECT = "models/m/run/model.safetensors"


class ScorerRig(TrainerRig):
    """A gnn-trainer that lets a model with given weights score."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment["TYPE"] = "gnn_score"

    async def order(self, **changes: Any) -> None:
        trained = await self.fill()
        head = ModelHead(
            name="m",
            run_id="run",
            parameters=TrainingParameters(model=ModelKind.NEIGHBOUR_MEAN),
            dataset=definition(),
            seed=0,
            first_ms=0,
            last_ms=0,
            moments=0,
        )
        await self.objects.put(OBJECT, write_model(head, {"weights": np.arange(1.0, 9.0)}))
        order = ScoringOrder(
            name="m",
            run_id="run",
            model=OBJECT,
            dataset=definition(),
            type=TYPE,
            start_ms=FIRST,
            end_ms=END,
            inputs=trained.inputs,
        )
        await self.objects.put(order_name(QUEUE), msgspec.json.encode(msgspec.structs.replace(order, **changes)))

    async def scores(self) -> dict[str, dict[str, Any]]:
        return {one.key: json.loads(one.body) for one in await self.stored.read("m_scores", limit=10_000)}


async def test_each_moment_gets_a_score_for_each_coin_and_twice_leaves_one(tmp_path: Path) -> None:
    rig = ScorerRig(tmp_path)
    await rig.prepare()
    await rig.order()
    stale = Document(f"{FIRST:013}_GONEUSDT", 1, b"{}")
    await rig.stored.upsert("m_scores", [stale])
    assert await rig.live(DEFINITION) == 0
    event, progress = last(await rig.events())
    assert (event.event, progress.share, (event.extra or {})["scores"]) == ("finished", 1, 60)
    found = await rig.scores()
    symbols = [f"C{coin:03}USDT" for coin in range(6)]
    assert [*found] == [f"{time:013}_{symbol}" for time in range(FIRST, END, DAY_MS) for symbol in symbols]
    assert {one["run_id"] for one in found.values()} == {"run"}
    assert len({one["score"] for one in found.values()}) > 30
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.scores() == found
    await rig.close()


async def test_bars_that_close_later_change_no_score(tmp_path: Path) -> None:
    rig = ScorerRig(tmp_path)
    await rig.prepare()
    await rig.order()
    assert await rig.live(DEFINITION) == 0
    before = await rig.scores()
    middle = FIRST + 5 * DAY_MS
    for place, body in enumerate(await rig.stored.read("bars", limit=10_000)):
        bar = json.loads(body.body)
        if bar["open_time"] + DAY_MS > middle:
            bar["close"] *= 1.0 + place % 7
            await rig.stored.upsert("bars", [Document(body.key, 2, msgspec.json.encode(bar))])
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    after = await rig.scores()
    changed = {one["time"] for key, one in after.items() if one != before[key]}
    assert changed
    assert min(changed) > middle
    await rig.close()


async def test_a_model_of_another_run_or_format_is_refused_by_name(tmp_path: Path) -> None:
    rig = ScorerRig(tmp_path)
    await rig.prepare()
    await rig.order(run_id="other")
    assert f"{OBJECT} is of another run" in await rig.refused(1)
    await rig.order()
    await rig.objects.put(OBJECT, b"\x80\x04pickle")
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert f"{OBJECT} is no model" in await rig.refused(1)
    assert not await rig.scores()
    await rig.close()
