"""Debian's chromium, and what a page costs in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

LIMIT_S = 300.0

_FRAMES = """
window.longFrames = [];
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) window.longFrames.push([one.startTime, one.duration]);
}).observe({ type: "long-animation-frame", buffered: true });
"""
_SHORTEST_LONG_MS = 50.0
"""A frame that takes less is not reported."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's chromium, headless. Raises RuntimeError if it is missing."""
    found = shutil.which("chromium")
    if found is None:
        raise RuntimeError("chromium is missing: tools/install_chromium.sh installs it")
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # which root's containers have no rights for
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=sandbox, timeout=LIMIT_S * 1000)
        try:
            yield launched
        finally:
            launched.close()


@contextmanager
def new_page(browser: Browser) -> Iterator[Watched]:
    """A page with nothing in its cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    context.set_default_timeout(LIMIT_S * 1000)
    context.add_init_script(_FRAMES)
    try:
        yield Watched(context.new_page())
    finally:
        context.close()


class Watched:
    """A page with what it costs. requests: the addresses that were asked for, in their order."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self._received: dict[str, float] = {}
        self._feeds: set[str] = set()
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.on("Network.requestWillBeSent", self._sent)
        self._session.on("Network.dataReceived", self._came)
        self._session.on("Network.loadingFinished", self._ended)
        self._session.send("Network.enable")
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    @property
    def kilobytes(self) -> float:
        """What came over the wire, compressed, with the headers of what has ended, but not by the feed; 10**3 bytes."""
        return sum(size for request, size in self._received.items() if request not in self._feeds) / 1000

    def processor_ms(self) -> float:
        """The processor time of the page's main thread until now: scripts, styles, layout, painting."""
        return 1000 * self._metrics()["TaskDuration"]

    def heap_mb(self) -> float:
        """What its scripts hold in memory, in 10**6 bytes, after a collection of what they do not hold any more."""
        self._session.send("HeapProfiler.collectGarbage")
        return self._metrics()["JSHeapUsedSize"] / 1e6

    def now_ms(self) -> float:
        """Milliseconds since the navigation began, by the page's own clock."""
        return float(self.page.evaluate("performance.now()"))

    def long_frames_ms(self, since_ms: float) -> list[float]:
        """The animation frames that began since then and took longer than 50 ms."""
        found = self.page.evaluate("window.longFrames")
        return [float(duration) for start, duration in found if start >= since_ms]

    def longest_frame_ms(self, since_ms: float) -> float:
        """The longest of them; 50 if there is none, as shorter ones are not reported."""
        return max(self.long_frames_ms(since_ms), default=_SHORTEST_LONG_MS)

    def elements(self) -> int:
        """How many elements the document has."""
        return int(self.page.evaluate("document.querySelectorAll('*').length"))

    def _metrics(self) -> dict[str, float]:
        found = self._session.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in found}

    def _sent(self, event: dict[str, Any]) -> None:
        url = event["request"]["url"]
        if not url.startswith("data:"):
            self.requests.append(url)
        if urlsplit(url).path == "/feed":
            self._feeds.add(event["requestId"])

    def _came(self, event: dict[str, Any]) -> None:
        request = event["requestId"]
        self._received[request] = self._received.get(request, 0) + event["encodedDataLength"]

    def _ended(self, event: dict[str, Any]) -> None:
        self._received[event["requestId"]] = event["encodedDataLength"]
