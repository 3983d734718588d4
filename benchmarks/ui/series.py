"""How soon a chart is there, what it costs on the wire, and what moving it costs, by how many candles are stored."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Mapping
from functools import partial
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import Browser, Page, expect

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size, in_turn, median, slope
from benchmarks.common.processes import exchange, manager
from benchmarks.common.stored_candles import fill, symbol_of
from benchmarks.ui.browser import LIMIT_S, Watched, chromium, new_page

CANDLES = {Size.FULL: (10_000, 5_000_000), Size.QUICK: (10_000, 1_000_000), Size.TINY: (2000, 60_000)}
ROUNDS = {Size.FULL: 5, Size.QUICK: 3, Size.TINY: 1}
PANNED_S = {Size.FULL: 120, Size.QUICK: 30, Size.TINY: 4}
WARM_UP = 0.3
"""The part of the time of panning before the heap's growth is looked at."""
SAMPLES = 20
TEN_MINUTES_S = 600
TIMES, KILOBYTES, FIRST_S, FRAME_MS, HEAP_MB = 1.5, 300, 1.5, 100, 5

_CANDLES = """() => [...document.querySelectorAll('.chart canvas')].some((one) => {
  if (one.width * one.height === 0) return false;
  const data = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;
  for (let at = 0; at < data.length; at += 4) {
    const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
    if (data[at + 3] > 200 && (red - green > 90 || (green - red > 60 && green - blue > 30))) return true;
  }
  return false;
})"""
"""Whether there is a candle, which is red or green; while the bars are computed the chart has places for them alone."""

CHART, BUSY, LEVEL = ".chart", "Loading finer bars", "main .title"
ZOOMED_DRAGS, NOTCHES = 24, 4
"""So many drags zoom in before as many zoom out, each by so many notches of the wheel: from weeks to minutes."""


class Opened(msgspec.Struct, frozen=True):
    """What opening a series cost. first_s: until candles were drawn. seconds: until none was waited for any more."""

    first_s: float
    seconds: float
    kilobytes: float
    requests: int


class Panned(msgspec.Struct, frozen=True):
    """What moving a chart cost. frames_ms: those longer than 50 ms. growth_mb: of the heap, in ten minutes.

    levels: of detail that were shown.
    """

    seconds: float
    drags: int
    levels: int
    longest_ms: float
    frames_ms: list[float]
    growth_mb: float
    heap_mb: tuple[float, float]


def run(bench: Bench) -> Section:
    """Measure it."""
    few, most = CANDLES[bench.size]
    with bench.folder() as folder, exchange() as url:
        asyncio.run(fill(folder / "data", (few, most)))
        bench.say(f"{few + most:,} candles are stored")
        with manager(folder / "data", url) as address, chromium() as browser:
            cold = _open(browser, address, most, cold=True)
            bench.say(f"cold: the first candle after {cold.first_s:.2f} s, all of them after {cold.seconds:.1f} s")
            _all_computed(address, most)
            _all_computed(address, few)
            found = in_turn(
                ROUNDS[bench.size],
                {str(size): partial(bench.undisturbed, partial(_open, browser, address, size)) for size in (few, most)},
                lambda name, one: bench.say(f"{name} candles: {one.seconds:.2f} s, {one.kilobytes:.0f} kB"),
            )
            panned = _pan(browser, address, most, PANNED_S[bench.size])
    return _section(few, most, cold, found, panned)


def _section(few: int, most: int, cold: Opened, found: Mapping[str, list[Opened]], panned: Panned) -> Section:
    seconds = {size: median([one.seconds for one in found[str(size)]]) for size in (few, most)}
    long_frames = ", ".join(f"{one:.0f} ms" for one in sorted(panned.frames_ms, reverse=True)[:5])
    return Section(
        title="The web UI: a series",
        how=(
            f"Chromium opens `/ui/series/SYMBOL/api_candles_1m` of a real manager that has {most:,} candles of one "
            f"symbol and {few:,} of another, in turn, with nothing in its cache; the bars were computed before, but "
            "for the cold one, which is opened first, once. Then the chart of "
            f"{most:,} is dragged to and fro with the mouse, "
            "zoomed in with its wheel between the drags, and out again, and the memory of its scripts is looked at "
            "after collections of garbage."
        ),
        lines=(
            Line(
                what=f"opening a series of {most:,} candles, against {few:,}",
                measured=seconds[most] / seconds[few],
                unit="times",
                below=TIMES,
            ),
            Line(
                what="bytes over the wire until it is drawn",
                measured=max(one.kilobytes for one in found[str(most)]),
                unit="kB",
                below=KILOBYTES,
            ),
            Line(
                what="its first candles",
                measured=median([one.first_s for one in found[str(most)]]),
                unit="s",
                below=FIRST_S,
            ),
            Line(
                what=f"the first candle of {most:,} where no bar was computed before",
                measured=cold.first_s,
                unit="s",
                below=FIRST_S,
            ),
            Line(what="all of them there", measured=cold.seconds, unit="s"),
            Line(what="longest animation frame while panning", measured=panned.longest_ms, unit="ms", below=FRAME_MS),
            Line(
                what="growth of the heap in ten minutes of panning",
                measured=panned.growth_mb,
                unit="MB",
                below=HEAP_MB,
            ),
        ),
        details=(
            f"Median: {most:,} candles {seconds[most]:.2f} s, {few:,} candles {seconds[few]:.2f} s; "
            f"{found[str(most)][0].requests} requests.",
            f"Panned for {panned.seconds:.0f} s, {panned.drags} drags, {panned.levels} levels of detail; "
            "the growth is that of its last "
            f"{1 - WARM_UP:.0%}, by least squares, times what ten minutes are of it; from {panned.heap_mb[0]:.1f} MB "
            f"to {panned.heap_mb[1]:.1f} MB.",
            f"Frames of more than 50 ms, as the browser reports them: {len(panned.frames_ms)}"
            + (f", the longest {long_frames}." if long_frames else ", so 50 ms is given."),
        ),
    )


def _all_computed(address: str, size: int) -> float:
    """Ask for the bars until all are there; the seconds until then."""
    began = time.monotonic()
    while True:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=LIMIT_S)
        connection.request("GET", f"/series/{symbol_of(size)}/api_candles_1m/bars")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the bars of {symbol_of(size)}: HTTP {answer.status} {body[:500]!r}")
        if answer.headers["Retry-After"] is None:
            return time.monotonic() - began
        if time.monotonic() - began > LIMIT_S:
            raise RuntimeError(f"the bars of {symbol_of(size)} are not computed after {LIMIT_S:.0f} s")
        time.sleep(float(answer.headers["Retry-After"]))


def _drawn(watched: Watched, address: str, size: int, cold: bool = False) -> float:
    """The seconds until the first candles were drawn; on return all are. Raises RuntimeError if none are."""
    watched.page.goto(f"{address}/ui/series/{symbol_of(size)}/api_candles_1m")
    chart, empty = (
        watched.page.locator(f"{CHART} canvas").first,
        watched.page.locator("main .empty, main .failed").first,
    )
    chart.or_(empty).first.wait_for()
    if empty.is_visible():
        raise RuntimeError(f"the screen of a series shows no chart: {empty.inner_text()}")
    if cold:
        watched.page.wait_for_function(_CANDLES, polling=50, timeout=LIMIT_S * 1000)
    watched.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    first_s = watched.now_ms() / 1000
    expect(watched.page.get_by_text(BUSY)).to_have_count(0, timeout=LIMIT_S * 1000)
    return first_s


def _open(browser: Browser, address: str, size: int, cold: bool = False) -> Opened:
    with new_page(browser) as watched:
        first_s = _drawn(watched, address, size, cold)
        return Opened(first_s, watched.now_ms() / 1000, watched.kilobytes, len(watched.requests))


def _pan(browser: Browser, address: str, size: int, seconds: float) -> Panned:
    """Raises RuntimeError if the level of detail stays the same."""
    with new_page(browser) as watched:
        _drawn(watched, address, size)
        level, levels = watched.page.locator(LEVEL), set[str]()
        began_ms, began, drags = watched.now_ms(), time.monotonic(), 0
        heap: list[tuple[float, float]] = []
        while (elapsed := time.monotonic() - began) < seconds or len(levels) < 2:
            if elapsed > LIMIT_S:
                raise RuntimeError(f"{drags} drags with zooms have shown one level of detail alone: {levels}")
            if elapsed >= seconds * len(heap) / SAMPLES:
                heap.append((elapsed, watched.heap_mb()))
            _drag(watched.page, 1 if drags % 2 else -1)
            _zoom(watched.page, 1 if drags // ZOOMED_DRAGS % 2 else -1)
            levels.add(level.inner_text())
            drags += 1
        heap.append((time.monotonic() - began, watched.heap_mb()))
        settled = [point for point in heap if point[0] >= WARM_UP * seconds]
        return Panned(
            seconds=heap[-1][0],
            drags=drags,
            levels=len(levels),
            longest_ms=watched.longest_frame_ms(began_ms),
            frames_ms=watched.long_frames_ms(began_ms),
            growth_mb=slope(settled) * TEN_MINUTES_S,
            heap_mb=(heap[0][1], heap[-1][1]),
        )


def _drag(page: Page, way: int) -> None:
    """Move the chart by a third of its width."""
    box = page.locator(CHART).bounding_box()
    assert box is not None, "the chart has gone"
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - way * box["width"] / 6, y)
    page.mouse.down()
    page.mouse.move(x + way * box["width"] / 6, y, steps=20)
    page.mouse.up()


def _zoom(page: Page, way: int) -> None:
    """Turn the wheel over the chart, away from the person (-1: in) or towards them."""
    for _ in range(NOTCHES):
        page.mouse.wheel(0, way * 100)
