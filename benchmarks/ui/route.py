"""What the first look at the web UI costs: requests and bytes until the list of workflows is there."""

from __future__ import annotations

import asyncio

import msgspec
from playwright.sync_api import Browser, expect

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, median
from benchmarks.common.processes import exchange, manager
from benchmarks.common.stored_workflows import fill
from benchmarks.ui.browser import LIMIT_S, chromium, new_page

WORKFLOWS = {Size.FULL: 1000, Size.QUICK: 200, Size.TINY: 60}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
ROWS = 50
REQUESTS, KILOBYTES = 30, 150


class Looked(msgspec.Struct, frozen=True):
    """What came of opening the UI. seconds: until the rows were there."""

    requests: int
    kilobytes: float
    seconds: float


def run(bench: Bench) -> Section:
    """Measure it."""
    with bench.folder() as folder, exchange() as url:
        asyncio.run(fill(folder / "data", WORKFLOWS[bench.size]))
        with manager(folder / "data", url) as address, chromium() as browser:
            found = [bench.undisturbed(lambda: _look(browser, address)) for _ in range(ROUNDS[bench.size])]
    for one in found:
        bench.say(f"{one.requests} requests, {one.kilobytes:.0f} kB, {one.seconds:.2f} s")
    return Section(
        title="The web UI: first look",
        how=(
            f"Chromium opens `/ui` of a real manager with {WORKFLOWS[bench.size]:,} workflows, with nothing in its "
            f"cache, until the first {ROWS} of them are shown. All that it asks for counts, the data too, but not the "
            "changes that the feed tells: such a manager removes the topics of its ended workflows meanwhile."
        ),
        lines=(
            Line(
                what="requests until the first screen of the UI is there",
                measured=max(one.requests for one in found),
                unit="requests",
                below=REQUESTS + 1,
            ),
            Line(
                what="bytes of them over the wire",
                measured=max(one.kilobytes for one in found),
                unit="kB",
                below=KILOBYTES,
            ),
        ),
        details=(f"Median of {len(found)}: {median([one.seconds for one in found]):.2f} s until the rows are shown.",),
    )


def _look(browser: Browser, address: str) -> Looked:
    with new_page(browser) as watched:
        watched.page.goto(f"{address}/ui")
        expect(watched.page.locator("[data-row]")).to_have_count(ROWS, timeout=LIMIT_S * 1000)
        seconds = watched.now_ms() / 1000
        return Looked(len(watched.requests), watched.kilobytes, seconds)
