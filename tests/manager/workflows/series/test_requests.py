from __future__ import annotations

from typing import Any

import pytest

from streamforge.manager.engine.document import Status, Workflow
from streamforge.manager.use_cases import StartRequest, StepRequest
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.requests import check, workflow_of
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.runtime.life.worker_definition import Role
from tests.manager.support import DAY_MS, DAY_START, LOADER, NOW, SINK


def asked(**fields: Any) -> Workflow:
    request = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01", **fields}
    return workflow_of(check(StartRequest(**request), NOW), code="abc123", now_ms=NOW, exchange_now_ms=NOW)


def steps(*wanted: StepRequest | str) -> tuple[StepRequest, ...]:
    return tuple(StepRequest(target=step) if isinstance(step, str) else step for step in wanted)


def test_the_plain_request() -> None:
    workflow = asked(symbol="btcusdt")
    assert workflow.queue_id == "wf-btcusdt-api_candles_1m-20240801-abc123"
    assert (workflow.symbol, workflow.type, workflow.status) == ("BTCUSDT", "api_candles_1m", Status.PENDING)
    assert workflow.topic == "wf-btcusdt-api_candles_1m-20240801-abc123-data"
    assert workflow.collection == "btcusdt_api_candles_1m_2024_08_01"
    assert (workflow.span.start_ms, workflow.part(History).clipped, workflow.created_ms) == (DAY_START, False, NOW)
    assert {(s.target, s.role, s.telemetry_id) for s in workflow.steps} == {
        (LOADER, Role.LOADER, "loader-api-candles__abc123"),
        (SINK, Role.SINK, "arango-candles__abc123"),
    }


def test_a_month_is_no_minute() -> None:
    month = asked(type="api_candles_1M", time_range="2024-01")
    assert month.type == asked(type="api_candles_1mo", time_range="2024-01").type == "api_candles_1M"
    assert month.queue_id == "wf-btcusdt-api_candles_1mo-20240101-abc123"
    assert month.collection == "btcusdt_api_candles_1mo_2024_01_01"


def test_an_end_in_the_future_is_clipped_and_both_are_kept() -> None:
    workflow = asked(time_range="2024-08-01:2030")
    assert (workflow.requested, workflow.span.end_ms, workflow.part(History).clipped) == ("2024-08-01:2030", NOW, True)


@pytest.mark.parametrize(
    ("words", "start_ms", "end_ms"),
    [
        ("-30d", NOW - 30 * DAY_MS, NOW),
        ("2024-08-01:", DAY_START, NOW),
        ("yesterday", NOW - DAY_MS, NOW),
        ("-3d:-1d", NOW - 3 * DAY_MS, NOW - DAY_MS),
    ],
)
def test_a_relative_range_becomes_an_absolute_one_and_keeps_its_words(words: str, start_ms: int, end_ms: int) -> None:
    workflow = asked(time_range=words)
    assert (workflow.requested, workflow.part(History).clipped) == (words, False)
    assert workflow.span == TimeRange(start_ms, end_ms)


def test_a_clock_ahead_of_the_exchange_clips_what_is_relative() -> None:
    request = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="-1d")
    workflow = workflow_of(check(request, NOW + 5_000), code="abc123", now_ms=NOW, exchange_now_ms=NOW)
    assert (workflow.span, workflow.part(History).clipped) == (TimeRange(NOW + 5_000 - DAY_MS, NOW), True)


def test_images_parameters_and_a_collection_of_ones_own() -> None:
    loader = StepRequest(target=LOADER, image="registry.local:5000/loader@sha256:0a", parameters={"concurrency": 2})
    workflow = asked(steps=steps(loader, SINK), collection="Mine-1", again=True)
    found = workflow.step(LOADER)
    assert found is not None
    assert (found.image, found.parameters) == (loader.image, {"concurrency": 2})
    assert (workflow.collection, workflow.part(History).again) == ("Mine-1", True)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"steps": steps(LOADER, SINK, "dummy-service")}, "targets", "is a diagnostic: a workflow proves what is stored"),
    ({"symbol": ""}, "symbol", "1 to 60"),
    ({"symbol": "api_candles_1m", "type": "BTCUSDT"}, "type", "the symbol comes first, then the type"),
    ({"type": "klines_1h"}, "type", "type 'klines_1h' is not known: did you mean api_candles_1h?"),
    ({"time_range": "30d"}, "time_range", "did you mean -30d?"),
    ({"type": "nothing"}, "type", "choose one of"),
    ({"time_range": "2024-08-02:2024-08-01"}, "time_range", "not after"),
    ({"time_range": "2024-08-11"}, "time_range", "future"),
    ({"steps": ()}, "targets", "a loader and a sink"),
    ({"type": "ws_depth_top", "time_range": ""}, "type", "no worker loads 'ws_depth_top' by itself"),
    ({"steps": steps(LOADER)}, "targets", SINK),
    ({"steps": steps(SINK)}, "targets", LOADER),
    ({"steps": steps(LOADER, SINK, SINK)}, "targets", "twice"),
    ({"steps": steps(LOADER, "nobody")}, "targets", "'nobody' is not known: for api_candles_1m choose from"),
    ({"steps": steps(LOADER, "../../etc/passwd")}, "targets", "not known"),
    ({"steps": steps(StepRequest(target=LOADER, image="a b"), SINK)}, "image", "no name of an image"),
    ({"steps": steps(StepRequest(target=LOADER, image="-x"), SINK)}, "image", "no name of an image"),
    ({"steps": steps(StepRequest(target=LOADER, parameters={"speed": 1}), SINK)}, "parameters", "concurrency"),
    (
        {"steps": steps(StepRequest(target=LOADER, parameters={"concurrency": 0}), SINK)},
        "parameters",
        "'concurrency' of loader-api-candles is 0: it must be a whole number, at least 1",
    ),
    (
        {"steps": steps(StepRequest(target=LOADER, parameters={"concurrency": "4"}), SINK)},
        "parameters",
        '"4": it must be a whole number',
    ),
    (
        {"steps": steps(LOADER, StepRequest(target=SINK, parameters={"store_patience_seconds": -1}))},
        "parameters",
        "is -1: it must be a number, at least 0",
    ),
    ({"collection": "1a"}, "collection_name", "begin with a letter"),
    ({"collection": "a/b"}, "collection_name", "digits"),
    ({"collection": "a" * 257}, "collection_name", "at most 256"),
    ({"collection": "streamforge-history"}, "collection_name", "are ours"),
    ({"collection": "StreamForge"}, "collection_name", "are ours"),
]


@pytest.mark.parametrize(("fields", "field", "words"), REFUSED, ids=[repr(case[0])[:60] for case in REFUSED])
def test_refusals_name_the_field_and_what_is_acceptable(fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        asked(**fields)
    assert refused.value.field == field
    assert words in str(refused.value)


def test_a_choice_of_targets_offers_only_what_a_workflow_may_have() -> None:
    with pytest.raises(InvalidInput) as refused:
        asked(steps=steps(LOADER, "nobody"))
    offered = str(refused.value).rpartition("choose from ")[2].split(", ")
    assert sorted(offered) == sorted([LOADER, SINK])
    asked(steps=steps(*offered))
