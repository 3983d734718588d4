"""How much room the data take is measured now and then, kept, and told."""

from __future__ import annotations

from streamforge.manager.acting.measuring import EVERY_S, Measuring
from streamforge.manager.keeping.usage import UsageSamples
from streamforge_utils.ports.store import Usage
from tests.doubles.manualclock import ManualClock
from tests.doubles.memorystore import MemoryStore
from tests.doubles.observer import RecordingObserver

DAY_S = 86_400


async def test_size_growth_and_the_day_of_the_limit_are_told() -> None:
    store, clock, observer = MemoryStore(), ManualClock(), RecordingObserver()
    measuring = Measuring(store, clock, observer)
    for used in (100, 110, 120):
        store.said_usage = Usage(used_bytes=used, limit_bytes=150)
        await measuring.measure()
        clock.advance(DAY_S)
    assert observer.gauges["store_used_bytes"] == 120
    assert observer.gauges["store_limit_bytes"] == 150
    assert observer.gauges["store_growth_bytes_per_day"] == 10
    assert observer.gauges["store_full_timestamp_seconds"] == clock.now_ms() / 1000 - DAY_S + 3 * DAY_S


async def test_it_is_measured_every_quarter_of_an_hour_and_goes_on_after_a_restart() -> None:
    store, clock, observer = MemoryStore(), ManualClock(), RecordingObserver()
    measuring = Measuring(store, clock, observer)
    for seconds in (0, EVERY_S - 1, 1):
        clock.advance(seconds)
        await measuring.measure()
        await measuring.measure()
    assert len(store.puts) == 2
    clock.advance(3600)
    await Measuring(store, clock, observer).measure()
    assert len(await UsageSamples(store).all()) == 2


async def test_a_store_without_a_limit_has_no_day_of_it() -> None:
    store, observer = MemoryStore(), RecordingObserver()
    await Measuring(store, ManualClock(), observer).measure()
    assert "store_limit_bytes" not in observer.gauges
    assert observer.gauges["store_used_bytes"] == 0
