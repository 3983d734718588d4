"""The screen of coverage as a page: what its pictures show, and series that a manager's store is told of."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import Locator, Page

from streamforge.manager.coverage.store import CoverageStore
from streamforge_utils.model.coverage import Segment, Verdict
from streamforge_utils.model.series import Series
from tests import backends
from tests.e2e import rig
from tests.limits import LIMIT_S
from tests.ui.test_screens import TYPE

START_MS = 1_722_470_400_000  # 2024-08-01
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
Runs = list[tuple[int, int, str]]


def known(*verdicts: Verdict, length_ms: int = HOUR_MS // 2) -> list[Segment]:
    """So much of each verdict, half an hour by default."""
    return [
        Segment(
            start_ms=START_MS + at * length_ms,
            end_ms=START_MS + (at + 1) * length_ms,
            verdict=verdict,
            collection="c" if verdict in (Verdict.STORED, Verdict.EXPIRED) else None,
            cause="retention" if verdict is Verdict.EXPIRED else "",
        )
        for at, verdict in enumerate(verdicts)
    ]


def know(manager: rig.Manager, some: Mapping[str, Sequence[Segment]]) -> None:
    """Let the coverage of series of candles say this."""

    async def write() -> None:
        store = backends.make_store(manager.data)
        try:
            coverage, left = CoverageStore(store), list(some.items())
            while left:
                now, left = left[:100], left[100:]
                await asyncio.gather(*(coverage.lay_over(Series(name, "candles", "1m"), each) for name, each in now))
        finally:
            await store.close()

    with ThreadPoolExecutor(1) as beside:  # a loop of the browser runs in this thread
        beside.submit(asyncio.run, write()).result(LIMIT_S)


def row(page: Page, name: str) -> Locator:
    return page.locator(f'tr[data-series="{name} {TYPE}"]')


def band(page: Page, name: str) -> Locator:
    return row(page, name).get_by_role("slider")


def drawn(page: Page, name: str) -> Runs:
    """The runs that the picture of a series shows, read back from what is drawn, in minutes of the view."""
    found = band(page, name).evaluate(
        """band => [...band.querySelectorAll("path")].flatMap(path =>
            [...path.getAttribute("d").matchAll(/M([\\d.]+) 0h([\\d.]+)/g)].map(found =>
                [...[+found[1], +found[1] + +found[2]].map(x => x / band.clientWidth), path.dataset.verdict]))"""
    )
    return sorted((round(240 * start), round(240 * end), verdict) for start, end, verdict in found)


def minutes(runs: Sequence[Sequence[object]]) -> Runs:
    return [
        ((int(str(start)) - START_MS) // MINUTE_MS, (int(str(end)) - START_MS) // MINUTE_MS, str(verdict))
        for start, end, verdict in runs
    ]


def in_view(page: Page) -> tuple[int, int]:
    found = re.search(r"start=(\d+)&end=(\d+)", page.evaluate("location.search"))
    assert found is not None
    return int(found[1]), int(found[2])


def contrasts(page: Page) -> list[float]:
    """Of the ink of each verdict against the page's ground, as WCAG computes it."""
    found = page.evaluate(
        """() => {
            const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
            const luminance = color => {
                paint.fillStyle = color;
                paint.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c => c / 255)
                    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = luminance(getComputedStyle(document.body).backgroundColor);
            return [...document.querySelectorAll(".verdict rect")].map(one => {
                const ink = luminance(getComputedStyle(one).stroke);
                return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
            });
        }"""
    )
    assert len(found) >= 2 * len(Verdict)
    return list(found)
