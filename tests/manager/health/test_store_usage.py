"""How much room the data take is measured now and then, kept, and told."""

from __future__ import annotations

import pytest
import structlog

from streamforge.manager.health.store_usage import EVERY_S, StoreUsageMonitor, UsageSamples
from streamforge_utils.ports.store import Usage
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.doubles.observer import RecordingObserver
from tests.manager.execution.world import unanswered

DAY_S = 86_400


async def test_size_growth_and_the_day_of_the_limit_are_told() -> None:
    store, clock, observer = MemoryStore(), ManualClock(), RecordingObserver()
    measuring = StoreUsageMonitor(store, clock, observer)
    for used in (100, 110, 120):
        store.said_usage = Usage(used_bytes=used, limit_bytes=150)
        await measuring.measure()
        clock.advance(DAY_S)
    assert observer.gauges["store_used_bytes"] == 120
    assert observer.gauges["store_limit_bytes"] == 150
    assert observer.gauges["store_growth_bytes_per_day"] == 10
    assert observer.gauges["store_measured_timestamp_seconds"] == clock.now_ms() / 1000 - DAY_S
    assert observer.gauges["store_full_timestamp_seconds"] == clock.now_ms() / 1000 - DAY_S + 3 * DAY_S


async def test_it_is_measured_every_quarter_of_an_hour_and_goes_on_after_a_restart() -> None:
    store, clock, observer = MemoryStore(), ManualClock(), RecordingObserver()
    measuring = StoreUsageMonitor(store, clock, observer)
    for seconds in (0, EVERY_S - 1, 1):
        clock.advance(seconds)
        await measuring.measure()
        await measuring.measure()
    assert len(store.puts) == 2
    assert "store_limit_bytes" not in observer.gauges, "it has none"
    assert observer.gauges["store_used_bytes"] == 0
    clock.advance(3600)
    await StoreUsageMonitor(store, clock, observer).measure()
    assert len(await UsageSamples(store).all()) == 2


async def test_a_store_that_takes_no_more_writes_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    store, observer = MemoryStore(), RecordingObserver()
    store.said_usage = Usage(used_bytes=160, limit_bytes=150, read_only=True)
    monkeypatch.setattr(store, "put", unanswered)
    with structlog.testing.capture_logs() as logs:
        await StoreUsageMonitor(store, ManualClock(), observer).measure()
    assert observer.gauges.keys() == {"store_used_bytes", "store_limit_bytes", "store_measured_timestamp_seconds"}
    assert (observer.gauges["store_used_bytes"], observer.gauges["store_limit_bytes"]) == (160, 150)
    assert [(log["event"], log.get("read_only")) for log in logs] == [
        ("the store is near the limit of its licence", True),
        ("a sample of the store's size could not be kept", None),
    ]


async def test_damaged_samples_are_measured_anew() -> None:
    store, clock, observer = MemoryStore(), ManualClock(), RecordingObserver()
    await StoreUsageMonitor(store, clock, observer).measure()
    store.damage("usage", "store", b"{")
    assert await UsageSamples(store).all() == ()
    await StoreUsageMonitor(store, clock, observer).measure()
    assert len(await UsageSamples(store).all()) == 1
