from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streamforge.manager.api.request_bodies import Start
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.workflows.history.model import History
from streamforge.manager.workflows.series.requests import added_loader, check, workflow_of
from streamforge.manager.workflows.topics.model import TopicInput, Topics
from streamforge_utils.model.topic_reading import Until
from tests.manager.support import LOADER, NOW, SINK

SERIES = {"symbol": "BTCUSDT", "type": "api_candles_1m"}
DAY = {**SERIES, "time_range": "2024-08-01"}


def asked(body: dict[str, Any]) -> Workflow:
    checked = check(Start.model_validate(body).request(), NOW)
    return workflow_of(checked, code="abc123", now_ms=NOW, exchange_now_ms=NOW)


@pytest.mark.parametrize(
    "body",
    [
        DAY,
        {**DAY, "time_range": "-30d", "again": True, "source": "rest", "labels": {"team": "a", "x": "ж"}},
        {**DAY, "source": "archive"},
        {**SERIES, "since": "last"},
        {**DAY, "parameters": {SINK: {"store_patience_seconds": 5.0}}, "image": "local/streamforge:1"},
        {**DAY, "collection_name": "mine"},
        {"symbol": "BTCUSDT", "type": "ws_trades"},
        {"symbol": "BTCUSDT", "type": "ws_candles_1m", "time_range": "2024-08-01:"},
        {**DAY, "targets": ["loader-producer", SINK, LOADER], "parameters": {LOADER: {"concurrency": 2}}},
    ],
    ids=str,
)
def test_the_request_of_a_workflow_is_the_one_that_it_was_started_with(body: dict[str, Any]) -> None:
    workflow = asked(body)
    assert form_of(workflow).requested(workflow) == body


@pytest.mark.parametrize(
    "body",
    [
        {**DAY, "targets": [SINK, LOADER]},
        {"symbol": "BTCUSDT", "type": "ws_trades", "targets": ["arango-trades", "loader-ws-trades"]},
        {**DAY, "parameters": {"loader-producer": {}}},
        {**SERIES, "since": "-2d"},
    ],
    ids=str,
)
def test_another_spelling_leads_to_the_same_workflow(body: dict[str, Any]) -> None:
    workflow = asked(body)
    again = asked({**form_of(workflow).requested(workflow)})
    by_target = [tuple(sorted(one.steps, key=lambda step: step.target)) for one in (workflow, again)]
    assert by_target[0] == by_target[1]
    assert msgspec.structs.replace(again, steps=workflow.steps, form=workflow.form) == workflow
    assert workflow.endless or again.part(History).source == workflow.part(History).source


def test_a_step_that_the_plan_has_added_is_not_asked_for() -> None:
    workflow = asked(DAY)
    added = added_loader(workflow)
    assert added is not None
    workflow = msgspec.structs.replace(workflow, steps=(*workflow.steps, added))
    assert form_of(workflow).requested(workflow) == DAY


def test_a_topic_is_no_series() -> None:
    topic = TopicInput(topic="events", until=Until(text="end"))
    stores_a_topic = msgspec.structs.replace(asked(DAY), form=Topics(input=topic))
    with pytest.raises(NotNow, match="stores a topic"):
        form_of(stores_a_topic).requested(stores_a_topic)
