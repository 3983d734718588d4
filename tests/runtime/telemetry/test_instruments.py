"""Retries, progress and metrics, each by itself."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from streamforge_utils.model.errors import BannedError, ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.retry import LONGEST_PAUSE_S, retry
from streamforge_utils.runtime.telemetry.instruments import ProgressTracker
from streamforge_utils.runtime.telemetry.metrics import Metrics, MetricsServer
from tests.doubles.clock import FakeClock
from tests.doubles.manualclock import ManualClock
from tests.limits import LIMIT_S

# Retries


async def test_retries_grow_with_jitter_up_to_the_longest_pause_and_end_with_patience() -> None:
    clock = FakeClock()
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise RetryableError("away")

    with pytest.raises(RetryableError, match="away"):
        await retry(call, clock=clock, patience_s=60)
    assert calls == len(clock.slept) + 1
    assert 50 < sum(clock.slept) <= 60
    assert max(clock.slept) <= LONGEST_PAUSE_S
    assert clock.slept[0] <= 0.05


async def test_the_time_that_the_other_side_names_is_kept_or_patience_is_spent_at_once() -> None:
    clock = FakeClock()
    errors = [RetryableError("wait", retry_after=7), None, RetryableError("wait longer", retry_after=61)]

    async def call() -> str:
        error = errors.pop(0)
        if error is not None:
            raise error
        return "done"

    assert await retry(call, clock=clock, patience_s=60) == "done"
    assert clock.slept == [7]
    with pytest.raises(RetryableError, match="longer"):
        await retry(call, clock=clock, patience_s=60)
    assert clock.slept == [7]


@pytest.mark.parametrize(
    "error", [BannedError("418", until_ms=1, retry_after=1), PermanentError("never"), ConfigError("bad"), ValueError()]
)
async def test_other_errors_are_not_retried(error: Exception) -> None:
    clock = FakeClock()

    async def call() -> None:
        raise error

    with pytest.raises(type(error)):
        await retry(call, clock=clock, patience_s=60)
    assert clock.slept == []


# Progress


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = ManualClock()
    progress = ProgressTracker(clock)
    for _ in range(20):
        progress.records += 100
        clock.advance(1)
        assert progress.snapshot().rate == 100.0
    clock.advance(9)
    assert 0 < progress.snapshot().rate < 100
    clock.advance(11)
    progress.snapshot()
    clock.advance(11)
    assert progress.snapshot().rate == 0.0


def test_waits_are_told_apart_and_their_time_is_counted() -> None:
    clock = ManualClock()
    waited: list[tuple[str, float]] = []
    progress = ProgressTracker(clock, lambda who, seconds: waited.append((who, seconds)))
    progress.adapter_waits("weight limit", 1_722_600_009_500)
    clock.advance(2)
    progress.wait("store", "away")
    progress.adapter_waits("weight limit, still")
    clock.advance(1)
    progress.wait("store", None)
    assert progress.snapshot().waiting == "weight limit, still"
    progress.adapter_waits(None)
    progress.adapter_waits(None)
    assert waited == [("store", 1.0), ("adapter", 3.0)]
    assert progress.snapshot().waiting is None
    progress.wait("input", "records", 1_722_600_009_500)
    assert progress.snapshot().waiting_until == 1_722_600_009.5
    progress.adapter_waits("connections")
    assert progress.snapshot().waiting == "connections", "what holds the other wait up is told"


# Metrics


def test_metrics_carry_the_target_and_one_family_has_one_set_of_labels() -> None:
    metrics = Metrics("sink")
    metrics.count("records", 5)
    metrics.count("records")
    metrics.count("records", 1, other="label")
    metrics.gauge("records", 3)
    metrics.count("exchange_requests_total", endpoint="klines", outcome="ok")
    metrics.gauge("lag_records", 7)
    metrics.observe("store_seconds", 0.02)
    text = metrics.text().decode()
    assert 'streamforge_records_total{target="sink"} 6.0' in text
    assert 'streamforge_exchange_requests_total{endpoint="klines",outcome="ok",target="sink"} 1.0' in text
    assert 'streamforge_lag_records{target="sink"} 7.0' in text
    assert 'streamforge_store_seconds_count{target="sink"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_a_gauge_that_is_forgotten_is_shown_no_longer_and_may_come_again() -> None:
    metrics, told = Metrics("queue-manager"), "streamforge_live_late_seconds{"
    for symbol in ("A", "B"):
        metrics.gauge("live_late_seconds", 70, type="ws_trades", symbol=symbol)
    for symbol in ("A", "A", "C"):
        metrics.forget("live_late_seconds", type="ws_trades", symbol=symbol)
    shown = [line for line in metrics.text().decode().splitlines() if line.startswith(told)]
    assert shown == [told + 'symbol="B",target="queue-manager",type="ws_trades"} 70.0']
    metrics.gauge("live_late_seconds", 80, type="ws_trades", symbol="A")
    assert 'symbol="A",target="queue-manager",type="ws_trades"} 80.0' in metrics.text().decode()


def test_metrics_are_served_on_loopback_and_nothing_else_is() -> None:
    metrics = Metrics("sink")
    metrics.count("records", 5)
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=LIMIT_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert b'streamforge_records_total{target="sink"} 5.0' in answer.read()
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=LIMIT_S)
        assert error.value.code == 404
        error.value.close()
        with pytest.raises(ConfigError, match=str(server.port)):
            MetricsServer(metrics, "127.0.0.1", server.port)
    finally:
        server.close()


def test_a_default_port_that_is_taken_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    first = MetricsServer(Metrics("a"), "127.0.0.1", 0)
    monkeypatch.setattr("streamforge_utils.runtime.telemetry.metrics.DEFAULT_PORT", first.port)
    second = MetricsServer(Metrics("b"), "127.0.0.1", None)
    assert second.port != first.port
    first.close()
    second.close()
