"""Streams that give nothing, or cannot be had: a live workflow ends, or shows itself, with a reason."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e import rig, stored_books
from tests.e2e.rig import Json
from tests.engines.process import free_ports
from tests.engines.proxy import Proxy

LOADER = "loader-ws-trades"
FOREIGN = "这是测试币456"
"""A symbol of the test exchange."""


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Exchange]:
    """With TLS too."""
    with rig.exchange("--no-limits", "--tls", str(tmp_path_factory.mktemp("tls"))) as found:
        yield found


def start(manager: rig.Manager, symbol: str, type_name: str = "ws_trades") -> str:
    if type_name == "ws_orderbook":
        return stored_books.start(manager, symbol)
    answer = manager.api.post("/queues/start", json={"symbol": symbol, "type": type_name})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["queue_id"])


def test_a_symbol_that_does_not_exist_is_refused_before_its_stream_could_be_silent(manager: rig.Manager) -> None:
    for type_name in ("ws_trades", "ws_candles_1m"):
        answer = manager.api.post("/queues/start", json={"symbol": "NOPEUSDT", "type": type_name})
        assert answer.status_code == 422, answer.text
        assert "NOPEUSDT is not a symbol of the test exchange" in answer.json()["detail"]


@pytest.mark.parametrize("type_name", ["ws_trades", "ws_candles_1s", "ws_orderbook"])
def test_a_symbol_that_is_not_traded_says_so_and_is_stopped_without_a_hole(
    type_name: str, manager: rig.Manager
) -> None:
    queue_id = start(manager, "OLDUSDT", type_name)
    shown = manager.until(queue_id, "its loader listens", lambda one: is_listening(one))
    assert (shown["live"]["untraded"], shown["live"]["open_holes"]) == ("BREAK", 0)
    ended = manager.stopped(queue_id)
    assert ended["progress"]["records_stored"] == 0


@pytest.mark.parametrize("type_name", ["ws_trades", "ws_candles_1s", "ws_orderbook"])
def test_a_symbol_of_another_script_is_recorded_as_any_other(type_name: str, manager: rig.Manager) -> None:
    queue_id = start(manager, FOREIGN, type_name)
    assert_goes_on(manager, queue_id)
    shown = manager.show(queue_id)
    assert (shown["symbol"], shown["live"]["open_holes"], shown["live"]["refused"]) == (FOREIGN, 0, 0)
    assert shown["progress"]["records_stored"] > 0


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


@pytest.mark.long
def test_a_proxy_that_cuts_is_told_and_costs_nothing(exchange: rig.Exchange, tmp_path: Path) -> None:
    there = ("127.0.0.1", int(exchange.url.rpartition(":")[2]))
    with Proxy(("127.0.0.1", free_ports(1)[0]), there) as proxy:
        proxy.cut_after(700)  # in the second or third trade
        url = f"ws://127.0.0.1:{proxy.listen[1]}"
        with rig.manager(tmp_path / "data", exchange.url, STREAMFORGE_STREAM_URL=url) as manager:
            queue_id = start(manager, "BTCUSDT")
            told = f"to {url}: it broke off"
            manager.until(queue_id, "it says why", lambda one: one["live"] and told in (one["live"]["failure"] or ""))
            proxy.cut_after(None)
            assert_goes_on(manager, queue_id)
            assert manager.show(queue_id)["live"]["reconnects"] > 0


@pytest.mark.long
def test_times_in_microseconds_are_refused_with_the_reason_and_cost_nothing(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    exchange.switch_on("stream-unit:symbol=ETHUSDT")
    queue_id = start(manager, "ETHUSDT")
    manager.until(queue_id, "it says why", lambda one: one["live"] and "13 digits" in (one["live"]["refusal"] or ""))
    assert_goes_on(manager, queue_id)
    exchange.lift_faults()


def assert_goes_on(manager: rig.Manager, queue_id: str) -> None:
    """What happens from now on is proven, too, and after a stop nothing lacks."""
    from_ms = time.time_ns() // 1_000_000
    manager.until(
        queue_id, "it is proven beyond", lambda one: one["live"] and (one["live"]["proven_through_ms"] or 0) > from_ms
    )
    manager.stopped(queue_id)
