"""Bad requests to a whole manager: each is answered with what is wrong and the next step, and nothing of it is kept."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.e2e import bus, rig

GOOD = {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01"}
REFUSED: list[tuple[rig.Json, str, str]] = [
    ({"symbol": "../../etc"}, "symbol", "characters that no symbol has"),
    ({"symbol": "BTC\x00"}, "symbol", "characters that no symbol has"),
    ({"symbol": None}, "symbol", "it must be text"),
    ({"type": "api_trades_1m"}, "type", "did you mean api_trades?"),
    ({"targets": ["arango-candles", "nobody"]}, "targets", "is not known"),
    ({"targets": ["arango-candles"]}, "targets", "needs a loader and a sink"),
    ({"time_range": "2024-08-02:2024-08-01"}, "time_range", "end is not after the start"),
    ({"time_range": "9999-12-31"}, "time_range", "ends after the year 9999"),
    ({"time_range": "2024-08-01; DROP"}, "time_range", "is not understood"),
    ({"time_range": "٢٠٢٤"}, "time_range", "is not understood"),
    ({"time_range": "2024-08-01" * 1000}, "time_range", "300"),
    ({"parameters": {"loader-api-candles": {"concurrency": 0}}}, "parameters", "at least 1"),
    ({"collection_name": "../x"}, "collection_name", "must begin with a letter"),
    ({"image": "a b"}, "image", "no name of an image"),
]
"""Refused without asking the exchange: field, and words of the reason (`tests/manager/test_requests.py` has all)."""
NOTHING = "wf-btcusdt-api_candles_1m-20240801-zzzzzz"


def _assert_problem(answer: httpx.Response, *statuses: int) -> Any:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == answer.status_code
    assert all(body[name] for name in ("title", "detail", "next_step"))
    assert "Traceback" not in answer.text
    assert len(answer.content) < 4_000, "what was sent is not sent back whole"
    return body


def _announced(manager: rig.Manager, *, body_bytes: int) -> int:
    """The status for a body that is announced and not sent: who is refused while sending may lose the answer."""
    address = manager.api.base_url
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=60)) as connection:
        connection.putrequest("POST", "/queues/start")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(body_bytes))
        connection.endheaders()
        return connection.getresponse().status


def test_what_cannot_be_done_is_refused_with_the_reason_and_leaves_nothing(
    exchange: rig.Exchange, tmp_path: Path
) -> None:
    with rig.manager(tmp_path / "data", exchange.url) as manager:
        asked = exchange.requests("klines"), exchange.requests("exchangeInfo")
        for change, field, words in REFUSED:
            # As ASCII: half a character cannot be sent otherwise.
            content = json.dumps(GOOD | change)
            answer = manager.api.post("/queues/start", content=content, headers={"Content-Type": "application/json"})
            body = _assert_problem(answer, 422)
            assert [error["field"] for error in body["errors"]] == [field], answer.text
            assert words in body["detail"]
        assert (exchange.requests("klines"), exchange.requests("exchangeInfo")) == asked, "it was refused anyway"
        for symbol in ("NOPEUSDT", "测试" * 20):
            unknown = _assert_problem(manager.api.post("/queues/start", json=GOOD | {"symbol": symbol}), 422)
            assert f"{symbol} is not a symbol of the test exchange" in unknown["detail"]
        assert _announced(manager, body_bytes=20_000_000) == 413
        for path in (f"/queues/{NOTHING}", "/queues/%00", "/queues/..%2f..%2fetc", "/collections/%2e%2e/records"):
            _assert_problem(manager.api.get(path), 404, 422)
        _assert_problem(manager.api.get("/queues/" + "x" * 3000), 404, 414, 422)
        _assert_problem(manager.api.get("/collections/streamforge-history/records"), 404, 422)
        for action in ("stop", "retry", "ping", "dlq/replay"):
            _assert_problem(manager.api.post(f"/queues/{NOTHING}/{action}"), 404)
        assert manager.api.get("/queues").json()["queues"] == []
        assert [topic for topic in bus.topics(manager.data) if topic.startswith("wf-")] == []
        assert list((manager.data / "jobs").glob("*")) == []
