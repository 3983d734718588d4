"""The promise to others: what is frozen is kept, and a break of it is found, of every kind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import compatibility

Change = Callable[[dict[str, Any]], object]
FROZEN = compatibility.frozen(compatibility.ROOT / compatibility.FOLDER)


def found(name: str, change: Change) -> list[str]:
    now = copy.deepcopy(FROZEN)
    change(now[name])
    breaks, words = compatibility.compare(FROZEN, now)
    return breaks + words


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = schema["properties"]
    return result


def test_the_code_keeps_what_is_frozen() -> None:
    assert compatibility.compare(FROZEN, compatibility.current()) == ([], [])
    assert {"messages/command", "messages/event", "messages/candle", "asyncapi", "openapi"} <= set(FROZEN)


def new_field() -> dict[str, Any]:
    """A field more in the workflow that is answered, which is always there."""
    workflow = copy.deepcopy(FROZEN["openapi"]["components"]["schemas"]["Workflow"])
    workflow["properties"]["more"] = {"type": "integer"}
    workflow["required"].append("more")
    found: dict[str, Any] = workflow
    return found


ADDED: list[tuple[str, Change]] = [
    ("messages/event", lambda schema: properties(schema).update(mood={"type": "string", "default": ""})),
    ("messages/event", lambda schema: properties(schema)["event"]["enum"].append("asleep")),
    ("messages/end-of-stream", lambda s: properties(s)["end_of_stream"]["properties"].update(note={"type": "string"})),
    ("messages/payload-fail-after", lambda schema: properties(schema)["seconds"].pop("minimum")),
    ("openapi", lambda document: document["paths"].update({"/new": {"get": {"responses": {}}}})),
    (
        "openapi",
        lambda document: document["components"]["schemas"]["Target"]["properties"].update(x={"type": "string"}),
    ),
    ("openapi", lambda document: document["components"]["schemas"]["Workflow"].update(new_field())),
    ("openapi", lambda document: document["components"]["schemas"]["Start"]["required"].remove("symbol")),
    (
        "openapi",
        lambda d: d["components"]["schemas"]["Start"]["properties"]["symbol"].update(type=["string", "null"]),
    ),
    ("asyncapi", lambda document: document["channels"].update(new={"address": "new", "messages": {}})),
]


@pytest.mark.parametrize(("name", "change"), ADDED)
def test_what_is_added_breaks_nothing(name: str, change: Change) -> None:
    assert found(name, change) == []


BROKEN: list[tuple[str, Change, str]] = [
    (
        "openapi",
        lambda d: d["components"]["schemas"]["Target"]["properties"]["summary"].update(type=["string", "null"]),
        "the answer 200.targets[].summary: its type was string and is string or null",
    ),
    ("messages/event", lambda s: properties(s).pop("records_written"), "records_written: it is gone"),
    (
        "messages/event",
        lambda s: properties(s)["attempt"].update(type="string"),
        "attempt: its type was integer and is",
    ),
    ("messages/event", lambda s: properties(s)["event"]["enum"].remove("pong"), "the values ['pong'] are gone"),
    ("messages/event", lambda s: s["required"].append("symbol"), "symbol: it has become required"),
    ("messages/event", lambda s: s["required"].remove("producer"), "producer: it was always there"),
    ("messages/event", lambda s: properties(s)["symbol"].update(default="X"), "symbol: default was '' and is 'X'"),
    ("messages/event", lambda s: properties(s)["attempt"].update(maximum=9), "attempt: maximum was None and is 9"),
    ("messages/event", lambda s: properties(s)["timestamp"].update(description="ms"), "timestamp: its description"),
    ("messages/candle", lambda s: properties(s)["open"].update(pattern=".*"), "open: pattern was"),
    ("messages/command", lambda s: properties(s)["target"].update(anyOf=[{"type": "string"}]), "target: its type was"),
    (
        "messages/end-of-stream",
        lambda s: properties(s)["end_of_stream"]["properties"].pop("records"),
        "end_of_stream.records: it is gone",
    ),
    (
        "asyncapi",
        lambda d: d["channels"]["dlq"].update(address="{queue_id}-dead"),
        "topic {queue_id}-data-dlq: it is gone",
    ),
    ("asyncapi", lambda d: d["channels"]["data"]["messages"].pop("end-of-stream"), "end-of-stream does not travel"),
    ("asyncapi", lambda d: d["components"]["messages"]["event"].pop("bindings"), "message event: its content type or"),
    ("openapi", lambda d: d["paths"].pop("/queues/{queue_id}/stop"), "POST /queues/{queue_id}/stop: it is gone"),
    ("openapi", lambda d: d["paths"]["/queues"]["get"]["parameters"].pop(), "GET /queues, parameter "),
    ("openapi", lambda d: d["paths"]["/queues/start"]["post"]["responses"].pop("202"), "it answers 202 no more"),
    (
        "openapi",
        lambda d: d["components"]["schemas"]["Target"]["properties"].pop("summary"),
        "GET /targets, the answer 200.targets[].summary: it is gone",
    ),
    (
        "openapi",
        lambda d: d["components"]["schemas"]["Workflow"]["required"].remove("status"),
        "GET /queues/{queue_id}, the answer 200.status: it was always there",
    ),
    (
        "openapi",
        lambda d: d["components"]["schemas"]["Start"]["required"].append("image"),
        "POST /queues/start, the request.image: it has become required",
    ),
]


@pytest.mark.parametrize(("name", "change", "said"), BROKEN, ids=[said for _, _, said in BROKEN])
def test_a_break_is_found_and_named(name: str, change: Change, said: str) -> None:
    problems = found(name, change)
    assert problems
    assert any(problem.startswith(f"{name}: ") and said in problem for problem in problems), problems


def test_a_document_that_is_gone_is_a_break() -> None:
    now = {name: schema for name, schema in FROZEN.items() if name != "messages/progress"}
    assert compatibility.compare(FROZEN, now) == (["messages/progress: it is gone"], [])


def test_freezing_adds_what_is_new_and_refuses_a_break(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ("--folder", str(tmp_path))
    assert compatibility.main([*folder]) == 1
    assert compatibility.main([*folder, "--freeze"]) == 0
    assert compatibility.main([*folder]) == 0
    path = tmp_path / "messages" / "event.json"
    frozen = json.loads(path.read_text())
    added = properties(frozen).pop("message")
    path.write_text(json.dumps(frozen))
    assert compatibility.main([*folder]) == 0
    assert compatibility.main([*folder, "--freeze"]) == 0
    frozen = json.loads(path.read_text())
    assert properties(frozen)["message"] == added
    properties(frozen)["promised"] = {"type": "string"}
    path.write_text(json.dumps(frozen))
    capsys.readouterr()
    assert compatibility.main([*folder, "--freeze"]) == 1
    assert capsys.readouterr().err == "compatibility: v1: messages/event: promised: it is gone\n"
    assert "promised" in path.read_text()
