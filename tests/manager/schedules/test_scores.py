"""Schedules that let published models score what came since the last score."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.models.store import KnownModel
from streamforge.manager.schedules.model import Definition, RunState
from streamforge.manager.workflows.analyses.model import analysis_of
from streamforge.manager.workflows.analyses.model_input import ScoreInput
from streamforge.manager.workflows.analyses.plan import plan_analysis
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import InvalidInput, PermanentError
from tests.manager.execution.world import exchange_of
from tests.manager.models.published_models import publish
from tests.manager.schedules.schedule_rig import START_MS, Rig
from tests.manager.support import DAY_MS, DAY_START, HOUR_MS, MINUTE_MS, replace, the_analysis

MODEL: dict[str, Any] = {
    "name": "daily",
    "symbols": ["BTCUSDT", "ETHUSDT", "SOLUSDT"],
    "type": "api_candles_1h",
    "time_range": "2024-06:2024-07-30",
    "definition": {"window": 24, "top_k": 2},
    "parameters": {"model": "neighbour_mean"},
}
HOURLY = Definition(symbols=("daily",), type="gnn_score", cron="0 * * * *", labels={"desk": "a"})


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    """A manager that knows a model of the days until 2024-07-30, half an hour before the first fire time."""
    found = Rig()
    await found.start()
    deps = found.world.deps
    msgspec.structs.force_setattr(deps, "objects", ObjectFolder(tmp_path))
    await publish(deps, MODEL, START_MS)
    exchange = exchange_of(found.world)
    exchange.listed = [replace(exchange.listed[0], symbol=one) for one in MODEL["symbols"]]
    return found


async def scores(rig: Rig) -> list[Workflow]:
    return [one for one in (await rig.workflows())[::-1] if isinstance(analysis_of(one), ScoreInput)]


def moments(workflow: Workflow) -> list[int]:
    return [*the_analysis(workflow).order(workflow.span).times]


async def end(rig: Rig, workflow: Workflow) -> None:
    """It has scored all of its span."""
    deps = rig.world.deps
    ended = partial(msgspec.structs.replace, status=Status.FINISHED, ended_ms=rig.clock.now_ms())
    await deps.workflows.change(workflow.queue_id, ended)
    known = await deps.models.get("daily")
    assert known is not None
    await deps.models.put(msgspec.structs.replace(known, scored_ms=workflow.span.end_ms))


async def test_each_run_scores_what_came_since_the_last_and_nothing_where_nothing_did(rig: Rig) -> None:
    await rig.world.manager.schedules.add("s", HOURLY)
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    (first,) = await scores(rig)
    made = the_analysis(first)
    assert isinstance(made, ScoreInput)
    assert (made.name, made.run_id, first.labels) == ("daily", "run", {"desk": "a"})
    assert made.batch, "what lacks is loaded first"
    assert moments(first) == [DAY_START - 2 * DAY_MS, DAY_START - DAY_MS, DAY_START]
    await end(rig, first)
    await rig.turn()
    await rig.later(HOUR_MS)
    await rig.turn()
    assert await scores(rig) == [await rig.world.manager.get(first.queue_id)]
    await rig.later(23 * HOUR_MS)
    await rig.turn()
    _, second = await scores(rig)
    assert moments(second) == [DAY_START + DAY_MS]
    runs = await rig.runs()
    assert [(one.state, one.loads[0].status) for one in runs] == [
        (RunState.FINISHED, "finished"),
        (RunState.FINISHED, "up-to-date"),
    ]


async def test_a_model_that_was_removed_fails_the_run_by_name(rig: Rig) -> None:
    await rig.world.manager.schedules.add("s", HOURLY)
    await rig.world.manager.models.remove("daily")
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    (run,) = await rig.runs()
    assert (run.state, run.loads[0].status) == (RunState.ERROR, "refused")
    assert "there is no model daily" in run.reason


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"symbols": ("dally",)}, "symbols", "there is no model dally: did you mean daily?"),
        ({"symbols": ("BTCUSDT",)}, "symbols", "GET /models lists those that there are"),
        ({"time_range": "yesterday"}, "since", "scores go on where they end"),
        ({"since": "-1d"}, "since", "name no range"),
        ({"cron": "61 * * * *"}, "cron", "61"),
    ],
)
async def test_a_schedule_that_can_score_nothing_is_refused(
    rig: Rig, changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await rig.world.manager.schedules.add("s", msgspec.structs.replace(HOURLY, **changes))
    assert refused.value.field == field
    assert words in str(refused.value)


async def test_what_scores_would_load_is_not_estimated(rig: Rig) -> None:
    with pytest.raises(InvalidInput, match="add the schedule without a plan"):
        await rig.world.manager.schedules.request("s", HOURLY)


async def test_scores_of_an_earlier_run_are_not_made_once_the_model_was_trained_again(rig: Rig) -> None:
    await rig.world.manager.schedules.add("s", HOURLY)
    await rig.later(30 * MINUTE_MS)
    await rig.turn()
    (workflow,) = await scores(rig)
    deps = rig.world.deps
    await deps.models.change("daily", lambda known: msgspec.structs.replace(known, run_id="run2"))
    with pytest.raises(
        PermanentError, match=r"was trained again and is run run2 now, and these scores are of its run run"
    ):
        await plan_analysis(deps, workflow, the_analysis(workflow))
    await rig.world.deps.models.remove("daily")
    with pytest.raises(PermanentError, match="model daily is gone"):
        await plan_analysis(deps, workflow, the_analysis(workflow))


async def test_what_is_known_of_a_newer_run_is_not_changed_by_scores_of_an_earlier_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training is found whole while the scores are being proven."""
    models = rig.world.deps.models
    get, known = rig.world.store.get, await models.get("daily")
    assert known is not None
    newer = msgspec.structs.replace(known, run_id="run2")

    async def meanwhile(kind: str, name: str) -> Any:
        found = await get(kind, name)
        monkeypatch.undo()
        await models.put(newer)
        return found

    monkeypatch.setattr(rig.world.store, "get", meanwhile)
    seen: list[str] = []

    def scored(found: KnownModel) -> KnownModel | None:
        seen.append(found.run_id)
        return msgspec.structs.replace(found, scored_ms=1) if found.run_id == "run" else None

    await models.change("daily", scored)
    assert seen == ["run", "run2"]
    assert await models.get("daily") == newer
