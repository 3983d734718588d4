"""A long series with a long hole in a browser: its picture shows the hole, and no candle in it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from benchmarks.common import stored_candles as made
from streamforge import wiring
from streamforge.manager.coverage.store import CoverageStore
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.runtime.life.settings import DataSettings
from tests.e2e import rig
from tests.ui.conftest import Opened
from tests.ui.series_page import COUNT, GOOD, OURS, drawn, ms
from tests.ui.test_screens import TYPE, url_of


@pytest.mark.parametrize(
    ("candles", "days"),
    [(60_000, 10), pytest.param(5_000_000, 366, marks=pytest.mark.long)],
)
def test_a_long_hole_in_a_long_series(
    exchange: rig.Exchange, tmp_path: Path, opened: Opened, candles: int, days: int
) -> None:
    symbol, data = f"C{candles}USDT", tmp_path / "data"
    start_ms = made.START_MS + candles // 2 * rig.MINUTE_MS // rig.DAY_MS * rig.DAY_MS
    hole = Segment(start_ms=start_ms, end_ms=start_ms + days * rig.DAY_MS, verdict=Verdict.OURS)

    async def fill() -> None:
        await made.fill(data, (candles,))
        store = wiring.make_store(DataSettings(data_dir=data))
        await CoverageStore(store).lay_over(series_of(symbol, TYPE), [hole])
        await store.close()

    # Playwright's own loop runs in this thread.
    thread = threading.Thread(target=asyncio.run, args=(fill(),))
    thread.start()
    thread.join()
    with rig.manager(data, exchange.url) as manager:
        page = opened(url_of(manager), f"/series/{symbol}/{TYPE}")
        drawn(page)
        shown = manager.api.get(f"/series/{symbol}/{TYPE}/bars", params={"max": 500}).json()
        expect(page.get_by_text(f"bars of {shown['interval']}")).to_be_visible()
        first, last = (made.START_MS, made.START_MS + candles * rig.MINUTE_MS)
        share = [(one - first) / (last - first) for one in (hole.start_ms, hole.end_ms)]
        within = [share[0] + 0.01, share[1] - 0.01]
        # Records lie in the hole that nobody has proven: they are no candles.
        rising, lines = page.evaluate(COUNT, [*within, [list(GOOD), list(OURS)]])
        assert rising == 0
        assert lines > 100
        assert page.evaluate(COUNT, [share[1] + 0.02, 0.98, [list(GOOD)]])[0] > 20
        # A view, and all that is loaded around it, without a candle.
        begin, stop = (hole.start_ms + n * rig.DAY_MS for n in (4, 5))
        page.goto(f"{url_of(manager)}/ui/series/{symbol}/{TYPE}?start={begin}&end={stop}")
        drawn(page)
        rising, lines = page.evaluate(COUNT, [0, 1, [list(GOOD), list(OURS)]])
        assert rising == 0
        assert lines > 1000
        assert ms(page.get_by_label("From", exact=True).input_value()) == begin
