"""Streams that give nothing, or cannot be had: a live workflow ends, or shows itself, with a reason."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import Json

LOADER = "loader-ws-trades"


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Exchange]:
    """With TLS too."""
    with rig.exchange("--no-limits", "--tls", str(tmp_path_factory.mktemp("tls"))) as found:
        yield found


def start(manager: rig.Manager, symbol: str, type_name: str = "ws_trades") -> str:
    answer = manager.api.post("/queues/start", json={"symbol": symbol, "type": type_name})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def test_a_symbol_that_does_not_exist_is_refused_before_its_stream_could_be_silent(manager: rig.Manager) -> None:
    for type_name in ("ws_trades", "ws_candles_1m"):
        answer = manager.api.post("/queues/start", json={"symbol": "NOPEUSDT", "type": type_name})
        assert answer.status_code == 422, answer.text
        assert "NOPEUSDT is not a symbol of the test exchange" in answer.json()["detail"]


@pytest.mark.parametrize("type_name", ["ws_trades", "ws_candles_1s"])
def test_a_symbol_that_is_not_traded_says_so_and_is_stopped_without_a_hole(
    type_name: str, manager: rig.Manager
) -> None:
    queue_id = start(manager, "OLDUSDT", type_name)
    shown = manager.until(queue_id, "its loader listens", lambda one: is_listening(one))
    assert (shown["live"]["untraded"], shown["live"]["open_holes"]) == ("BREAK", 0)
    manager.post(f"/queues/{queue_id}/stop")
    ended = manager.finished(queue_id)
    assert ended["progress"]["records_stored"] == 0


def is_listening(workflow: Json) -> bool:
    return bool(workflow["live"]) and workflow["live"]["frame_age_seconds"] is not None


def no_server() -> str:
    """An address at which nobody listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("path", "refuses the connection (HTTP 404): check STREAMFORGE_STREAM_URL"),
        ("no TLS", "does not speak TLS: check STREAMFORGE_STREAM_URL (ws:// or wss://)"),
        ("CA", "is not trusted"),
        ("CA file", "STREAMFORGE_STREAM_CA_PATH: the file"),
    ],
)
def test_streams_that_can_never_be_had_end_a_workflow(
    case: str, reason: str, exchange: rig.Exchange, tmp_path: Path
) -> None:
    address = exchange.url.partition("://")[2]
    assert exchange.tls_url is not None
    settings = {
        "path": {"STREAMFORGE_STREAM_URL": f"ws://{address}/nowhere"},
        "no TLS": {"STREAMFORGE_STREAM_URL": f"wss://{address}"},
        "CA": {"STREAMFORGE_STREAM_URL": exchange.tls_url.replace("https", "wss")},
        "CA file": {
            "STREAMFORGE_STREAM_URL": exchange.tls_url.replace("https", "wss"),
            "STREAMFORGE_STREAM_CA_PATH": str(tmp_path / "none.pem"),
        },
    }[case]
    with rig.manager(tmp_path / "data", exchange.url, **settings) as manager:
        ended = manager.wait(start(manager, "BTCUSDT"))
        assert ended["status"] == "error", manager.story(ended["queue_id"])
        assert reason in ended["failure"]["reason"]
        assert ended["failure"]["next_step"]
        assert len(rig.step(ended, LOADER)["attempts"]) == 1


@pytest.mark.parametrize("case", ["nobody listens", "nobody answers"])
def test_streams_that_cannot_be_had_for_now_are_waited_for_with_the_reason(
    case: str, exchange: rig.Exchange, tmp_path: Path
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = no_server() if case == "nobody listens" else f"ws://127.0.0.1:{silent.getsockname()[1]}"
        reason = "no connection to" if case == "nobody listens" else "did not answer within 10 s"
        with rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_STREAM_URL=url) as manager:
            queue_id = start(manager, "BTCUSDT")
            manager.until(queue_id, "it says what it waits for", lambda one: reason in (one["waiting_for"] or ""))
            manager.post(f"/queues/{queue_id}/stop")
            assert manager.wait(queue_id)["ended_at"] is not None
