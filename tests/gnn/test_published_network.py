"""The default model through gnn-trainer: trained, killed and resumed to the same bytes; then it scores new bars."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from streamforge.analytics.graphs.order import order_name
from streamforge.analytics.models.model_manifest import MODEL, ModelManifest, manifest_name, read_model_manifest
from streamforge.analytics.models.scoring_order import ScoringOrder
from streamforge.workers.gnn_trainer import DEFINITION
from tests.analytics.models.markets import DAY_MS, START_MS
from tests.runtime.rig import QUEUE, last, until
from tests.workers.trainer_rig import DAYS, TYPE, TrainerRig, checkpoints, children

PARTS = 3 * (5 + 2 + 4 * 2 + 7)
"""Folds, and the naive models and ridge, LightGBM and the four on the graph of two seeds, and the switchboard."""


async def trainer(folder: Path, processes: int = 1) -> TrainerRig:
    rig = TrainerRig(folder)
    del rig.environment["STREAMFORGE_MODEL"]
    rig.environment |= {"STREAMFORGE_EPOCHS": "2", "STREAMFORGE_PROCESSES": f"{processes}"}
    await rig.prepare()
    await rig.fill()
    return rig


async def _there(rig: TrainerRig, running: asyncio.Task[int], parts: int) -> None:
    await until(lambda: running.done() or (len({*checkpoints(rig)}) >= parts and bool(children())))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ModelManifest:
    """What is published where nothing disturbs it."""

    async def made() -> ModelManifest:
        rig = await trainer(tmp_path_factory.mktemp("whole"))
        assert await rig.live(DEFINITION) == 0
        assert len(checkpoints(rig)) == PARTS
        found = await rig.manifest()
        await rig.close()
        return found

    return asyncio.run(made())


def test_it_is_the_default_and_says_what_it_ran_on(whole: ModelManifest) -> None:
    assert (whole.parameters.model, whole.parameters.device) == ("gat", "cpu")
    assert {*whole.files} == {"model.safetensors", "predictions.parquet", "card.json", "card.md", "card.html"}


@pytest.mark.parametrize(
    ("kept", "processes"),
    [((0, PARTS // 2, PARTS), 1), ((PARTS // 3,), 2)],
    ids=["the-training-process", "a-process-of-the-ladder"],
)
async def test_killed_and_resumed_it_publishes_the_same_model_predictions_and_card(
    tmp_path: Path, whole: ModelManifest, kept: tuple[int, ...], processes: int
) -> None:
    """Killed once so many parts are kept: of none while torch is loaded, of all while the model to publish learns,
    unless it is through before that is seen."""
    rig, codes = await trainer(tmp_path, processes), list[int]()
    rig.environment["STREAMFORGE_DEVICE"] = "cpu"  # which is what `auto` was here
    for attempt, parts in enumerate(kept, 1):
        rig.environment["STREAMFORGE_ATTEMPT"] = f"{attempt}"
        running = asyncio.create_task(rig.live(DEFINITION))
        await _there(rig, running, parts)
        for child in children():
            os.kill(child if processes == 1 else children(child, b"--multiprocessing-fork")[0], signal.SIGKILL)
        codes.append(await running)
    assert codes[0] == 1
    rig.environment["STREAMFORGE_ATTEMPT"] = f"{len(kept) + 1}"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == whole
    assert len(checkpoints(rig)) == PARTS, "what was kept is taken over"
    await rig.close()


async def test_what_was_published_scores_new_bars(tmp_path: Path, whole: ModelManifest) -> None:
    rig = await trainer(tmp_path)
    order = await rig.fill(end_ms=START_MS + (DAYS - 10) * DAY_MS)
    assert await rig.live(DEFINITION) == 0
    run_id = (last(await rig.events())[0].extra or {})["run_id"]
    name = manifest_name("m", run_id)
    manifest = read_model_manifest(await rig.content(name), name)
    assert run_id != whole.run_id
    scoring = ScoringOrder(
        name="m",
        run_id=run_id,
        model=manifest.files[MODEL].name,
        dataset=order.dataset,
        type=TYPE,
        start_ms=START_MS + (DAYS - 10) * DAY_MS,
        end_ms=START_MS + DAYS * DAY_MS,
        inputs=order.inputs,
    )
    await rig.objects.put(order_name(QUEUE), msgspec.json.encode(scoring))
    rig.environment["TYPE"] = "gnn_score"
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    found = [msgspec.json.decode(one.body) for one in await rig.stored.read("m_scores", limit=1000)]
    assert [one["time"] for one in found[::6]] == [*range(scoring.start_ms, scoring.end_ms, DAY_MS)]
    assert {one["run_id"] for one in found} == {run_id}
    assert len({one["score"] for one in found}) > 50
    await rig.close()
