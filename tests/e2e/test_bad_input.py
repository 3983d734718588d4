"""What no request may do: every bad one is answered with what is wrong and what to do, and nothing of it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e import bus, rig

GOOD = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01"}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")

REFUSED: dict[str, tuple[rig.Json, str, str]] = {
    "symbol that is not listed": ({"symbol": "NOPEUSDT"}, "symbol", "NOPEUSDT is not a symbol of the test exchange"),
    "symbol with a blank": ({"symbol": "BTC USDT"}, "symbol", "characters that no symbol has"),
    "symbol with a path": ({"symbol": "../../etc"}, "symbol", "characters that no symbol has"),
    "symbol with a line break": ({"symbol": "BTC\nUSDT"}, "symbol", "characters that no symbol has"),
    "symbol with a NUL": ({"symbol": "BTC\x00"}, "symbol", "characters that no symbol has"),
    "no symbol": ({"symbol": ""}, "symbol", "1 to 60 characters"),
    "symbol that is too long": ({"symbol": "A" * 61}, "symbol", "1 to 60 characters"),
    "symbol in another script that is not listed": ({"symbol": "测试" * 20}, "symbol", "symbol"),
    "symbol that is a number": ({"symbol": 7}, "symbol", "it must be text"),
    "symbol that is null": ({"symbol": None}, "symbol", "it must be text"),
    "type that is unknown": ({"type": "api_trades_1m"}, "type", "did you mean api_candles_1m?"),
    "interval that is unknown": ({"type": "api_candles_7m"}, "type", "choose one of"),
    "target that is unknown": ({"targets": ["arango-candles", "nobody"]}, "targets", "is not known"),
    "one target twice": ({"targets": ["arango-candles", "arango-candles"]}, "targets", "named twice"),
    "no loader": ({"targets": ["arango-candles"]}, "targets", "needs a loader and a sink"),
    "no targets": ({"targets": []}, "targets", "needs a loader and a sink"),
    "range that is empty": ({"time_range": "2024-08-01:2024-08-01"}, "time_range", "end is not after the start"),
    "range that is reversed": ({"time_range": "2024-08-02:2024-08-01"}, "time_range", "end is not after the start"),
    "range in the future": ({"time_range": TOMORROW}, "time_range", "starts in the future"),
    "range in the far future": ({"time_range": "9999-12-31"}, "time_range", "ends after the year 9999"),
    "range before there was time": ({"time_range": "1066"}, "time_range", "before 1970"),
    "range that is none": ({"time_range": "tomorrow"}, "time_range", "is not understood"),
    "range with more behind it": ({"time_range": "2024-08-01; DROP"}, "time_range", "is not understood"),
    "range of three": ({"time_range": "2024:2025:2026"}, "time_range", "is not understood"),
    "no day of the calendar": ({"time_range": "2024-02-30"}, "time_range", "is no date"),
    "no month of the calendar": ({"time_range": "2024-13"}, "time_range", "is no date"),
    "no hour of the day": ({"time_range": "2024-08-01T25:00Z"}, "time_range", "is no date"),
    "range in other digits": ({"time_range": "٢٠٢٤"}, "time_range", "is not understood"),
    "range that is too long": ({"time_range": "2024-08-01" * 1000}, "time_range", "300"),
    "parameter that is unknown": ({"parameters": {"arango-candles": {"x": 1}}}, "parameters", "is not known"),
    "parameter out of range": ({"parameters": {"loader-api-candles": {"concurrency": 0}}}, "parameters", "at least 1"),
    "parameter of no step": ({"parameters": {"nobody": {}}}, "parameters.nobody", "no step"),
    "collection that is ours": ({"collection_name": "streamforge-history"}, "collection_name", "are ours"),
    "collection with a path": ({"collection_name": "../x"}, "collection_name", "must begin with a letter"),
    "collection that is too long": ({"collection_name": "a" * 257}, "collection_name", "256"),
    "image that is none": ({"image": "a b"}, "image", "no name of an image"),
    "field that is unknown": ({"symbols": ["BTCUSDT"]}, "symbols", "not permitted"),
}


@pytest.fixture(scope="module", autouse=True)
def _nothing_half_accepted(manager: rig.Manager) -> Iterator[None]:
    yield
    assert manager.api.get("/queues").json()["queues"] == []
    assert [topic for topic in bus.topics(manager.data) if topic.startswith("wf-")] == []
    assert list((manager.data / "jobs").glob("*")) == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_become_a_workflow_is_refused_with_its_field_and_the_reason(
    name: str, manager: rig.Manager
) -> None:
    change, field, words = REFUSED[name]
    answer = manager.api.post(
        "/queues/start",
        # As ASCII: half a character cannot be sent otherwise.
        content=json.dumps(GOOD | change),
        headers={"Content-Type": "application/json"},
    )
    _assert_problem(answer.status_code, answer.headers["content-type"], answer.json())
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field], answer.text
    assert words in answer.json()["detail"]
    assert len(answer.content) < 4_000, "what was sent is not sent back whole"


@pytest.mark.parametrize(
    ("body", "content_type", "statuses"),
    [
        (b"", "application/json", (400, 422)),
        (b"{", "application/json", (400, 422)),
        (b"[]", "application/json", (422,)),
        (b"null", "application/json", (422,)),
        (b"\xff\xfe", "application/json", (400, 422)),
        (b'{"symbol": NaN}', "application/json", (400, 422)),
        (b"[" * 100_000, "application/json", (400, 413, 422)),
        (b'{"symbol":"BTCUSDT",' * 5, "application/json", (400, 422)),
        # Half a character, which no text has.
        (json.dumps(GOOD | {"symbol": "BTC\ud800"}).encode(), "application/json", (400,)),
        (json.dumps(GOOD).encode(), "text/plain", (415, 422)),
        (json.dumps(GOOD | {"parameters": {"x": "y" * 20_000_000}}).encode(), "application/json", (413,)),
    ],
    ids=["none", "broken", "list", "null", "no text", "NaN", "deep", "cut", "half a character", "plain text", "huge"],
)
def test_a_body_that_is_no_request_is_refused(
    body: bytes, content_type: str, statuses: tuple[int, ...], manager: rig.Manager
) -> None:
    answer = manager.api.post("/queues/start", content=body, headers={"Content-Type": content_type})
    assert answer.status_code in statuses, answer.text
    _assert_problem(answer.status_code, answer.headers["content-type"], answer.json())


@pytest.mark.parametrize(
    "path",
    [
        "/queues/nobody",
        "/queues/wf-btcusdt-api_candles_1m-20240801-zzzzzz",
        "/queues/" + "x" * 3000,
        "/queues/%00",
        "/queues/..%2f..%2fetc",
        "/queues?cursor=nobody",
        "/queues?limit=0",
        "/queues?limit=1e9",
        "/queues?status=gone",
        "/collections/nobody/records",
        "/collections/streamforge-history/records",
        "/collections/%2e%2e/records",
        "/coverage/BTC%20USDT/api_candles_1m",
        "/coverage/BTCUSDT/api_candles_9m",
        "/coverage/BTCUSDT/api_candles_1m?time_range=x",
        "/schemas/nobody",
    ],
)
def test_asking_for_what_there_is_not_is_answered_in_order(path: str, manager: rig.Manager) -> None:
    answer = manager.api.get(path)
    assert answer.status_code in (400, 404, 414, 422), answer.text
    _assert_problem(answer.status_code, answer.headers["content-type"], answer.json())


@pytest.mark.parametrize("action", ["stop", "retry", "ping", "dlq/replay"])
def test_nothing_can_be_done_with_a_workflow_that_is_none(action: str, manager: rig.Manager) -> None:
    answer = manager.api.post(f"/queues/wf-x-api_candles_1m-20240801-zzzzzz/{action}")
    assert answer.status_code == 404
    _assert_problem(404, answer.headers["content-type"], answer.json())


def test_the_exchange_was_not_asked_for_what_is_refused_anyway(exchange: rig.Exchange, manager: rig.Manager) -> None:
    before = exchange.requests("klines"), exchange.requests("exchangeInfo")
    for name in ("symbol with a path", "type that is unknown", "range that is reversed", "target that is unknown"):
        manager.api.post("/queues/start", json=GOOD | REFUSED[name][0])
    assert (exchange.requests("klines"), exchange.requests("exchangeInfo")) == before


def _assert_problem(status: int, content_type: str, body: rig.Json) -> None:
    assert status < 500
    assert content_type.startswith("application/problem+json")
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["next_step"]
    assert "Traceback" not in json.dumps(body)
