"""What a list that changes all the time costs the browser, and how large the page of a long history is."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from playwright.sync_api import Browser, expect

from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Line, Section, Size
from benchmarks.common.processes import ROOT, ended, exchange, manager
from benchmarks.common.stored_workflows import fill
from benchmarks.ui.browser import LIMIT_S, chromium, new_page
from streamforge import wiring
from streamforge.manager.engine.persistence.event_history import EventHistory
from streamforge_utils.model.messages import Event, encode_event
from streamforge_utils.model.names import telemetry_id
from streamforge_utils.runtime.life.settings import DataSettings
from tests.cleanenv import environment

CHANGING = 100
HERTZ = 10
SECONDS = {Size.FULL: 20, Size.QUICK: 8, Size.TINY: 2}
EVENTS = {Size.FULL: 10_000, Size.QUICK: 10_000, Size.TINY: 1500}
TICK_MS, ELEMENTS = 2, 1500

_BARE_ROW = """<tr><td>running</td><td><a href="#">BTCUSDT api_candles_1m</a><br>
wf-btcusdt-api_candles_1m-20200101-abc123<td>[2020-01-01, 2020-01-02)
<td><progress value=0.5></progress><br><span class=text></span><td class=text><td>2 min"""
_BARE = """<!doctype html><style>body { font: 15px system-ui } table { width: 100%; border-collapse: collapse }
td { padding: 7px; border-bottom: 1px solid #ccc }</style><table>"""
_WRITE = """every => {
  const texts = [...document.querySelectorAll(".text")].map((one) => one.appendChild(new Text()));
  window.ticks = 0;
  setInterval(() => {
    ticks += 1;
    texts.forEach((one, at) => { one.nodeValue = at % 2 === 0 ? `${ticks} of 1,440 records` : `${ticks}`; });
  }, every);
}"""
"""A page that does nothing but write the texts of the rows that change."""


class Ticked(msgspec.Struct, frozen=True):
    """What ticks took of the page's processor time, without what it takes at rest; rows: of those that change shown."""

    ticks: int
    milliseconds: float
    rows: int


def run(bench: Bench) -> Section:
    """Measure it."""
    size = bench.size
    with bench.folder() as folder, exchange() as url:
        # Before the browser, whose own event loop runs in this thread from then on.
        queue_id = asyncio.run(_fill(folder / "data", EVENTS[size]))
        with chromium() as browser:
            with _ticking(folder / "live", url) as address:
                ticked = bench.undisturbed(lambda: _ticks(browser, address, SECONDS[size]))
            bench.say(f"{ticked.ticks} ticks took {ticked.milliseconds:.0f} ms")
            bare_ms = bench.undisturbed(lambda: _bare(browser, SECONDS[size], ticked.rows))
            with manager(folder / "data", url) as address:
                elements = _history(browser, address, queue_id, EVENTS[size])
    return Section(
        title="The web UI: what changes, and what is long",
        how=(
            f"Chromium shows the list of workflows while each of {CHANGING} changes {HERTZ} times a second on the "
            "feed, which a process between it and the manager makes; then one workflow that has "
            f"{EVENTS[size]:,} events. Times are of the processor, of the page's main thread: hearing what is new, "
            "scripts, styles, layout, painting; what the page takes in as long without a change is taken off. A worker "
            "of the page reads the feed, in a thread of its own that is not counted. What "
            "comes within a quarter of a second, or a second where more than 50 change, is drawn together. Beside it a "
            "table of as many rows that has no feed "
            "and no framework: a timer writes the two texts of each row at each tick."
        ),
        lines=(
            Line(
                what=f"a tick of {CHANGING} workflows that change",
                measured=ticked.milliseconds / ticked.ticks,
                unit="ms",
                below=TICK_MS,
            ),
            Line(what="a tick of a bare table, whose texts a timer writes", measured=bare_ms, unit="ms"),
            Line(
                what="a tick of the list, against the bare table",
                measured=ticked.milliseconds / ticked.ticks / bare_ms,
                unit="times",
                below=1,
            ),
            Line(
                what=f"elements of a page with {EVENTS[size]:,} events",
                measured=elements,
                unit="elements",
                below=ELEMENTS + 1,
            ),
        ),
        details=(f"{ticked.ticks} ticks; {ticked.rows} of the {CHANGING} workflows are on the page that is shown.",),
    )


@contextmanager
def _ticking(data: Path, url: str) -> Iterator[str]:
    """The address of a manager whose feed ticks."""
    command = [sys.executable, "-m", "benchmarks.common.live_manager", str(data), url, str(CHANGING)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment())) as serving:
        assert serving.stdout is not None
        address = str(json.loads(serving.stdout.readline())["url"])
        command = [sys.executable, "-m", "benchmarks.ui.ticking", address, str(CHANGING), str(HERTZ)]
        before = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment())
        with ended(before):
            assert before.stdout is not None
            yield str(json.loads(before.stdout.readline())["url"])


def _ticks(browser: Browser, address: str, seconds: int) -> Ticked:
    with new_page(browser) as watched:
        page = watched.page
        page.goto(f"{address}/ui/workflows")
        expect(page.locator("[data-row]").first).to_be_visible(timeout=LIMIT_S * 1000)
        rows = page.locator("[data-row]").count()
        page.wait_for_timeout(2000)  # what the page does once has been done
        began_ms = watched.processor_ms()
        page.wait_for_timeout(seconds * 1000)
        at_rest_ms = watched.processor_ms() - began_ms
        began, began_ms = time.monotonic(), watched.processor_ms()
        _post(f"{address}/ticks/start")
        page.wait_for_timeout(seconds * 1000)
        stopped = _post(f"{address}/ticks/stop")
        # The page has really shown them.
        expect(page.locator("tbody tr").first).to_contain_text(f"{stopped['last']:,} of", timeout=LIMIT_S * 1000)
        took_ms = watched.processor_ms() - began_ms
        at_rest_ms *= (time.monotonic() - began) / seconds
        # The difference of two measured times may be less than none where hardly anything ticks.
        return Ticked(stopped["ticks"], max(took_ms - at_rest_ms, 0.001), rows)


def _bare(browser: Browser, seconds: int, rows: int) -> float:
    """Milliseconds of processor time that a tick takes where a timer writes the texts of so many rows."""
    with new_page(browser) as watched:
        watched.page.set_content(_BARE + _BARE_ROW * rows)
        watched.page.wait_for_timeout(1000)
        began_ms = watched.processor_ms()
        watched.page.evaluate(_WRITE, 1000 / HERTZ)
        watched.page.wait_for_timeout(seconds * 1000)
        return (watched.processor_ms() - began_ms) / int(watched.page.evaluate("ticks"))


def _post(address: str) -> dict[str, int]:
    request = urllib.request.Request(address, method="POST")  # noqa: S310 - of this machine
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"the ticks did not begin: {error.read().decode()}") from error
    else:
        assert isinstance(found, dict)
        return found


def _history(browser: Browser, address: str, queue_id: str, events: int) -> int:
    """The elements of the page of a workflow with so many events."""
    with new_page(browser) as watched:
        watched.page.goto(f"{address}/ui/workflows/{queue_id}")
        table = watched.page.get_by_role("table", name="Events")
        expect(table.get_by_role("cell", name=f"said {events - 1}", exact=True)).to_be_visible(timeout=LIMIT_S * 1000)
        return watched.elements()


async def _fill(data: Path, events: int) -> str:
    """Store a workflow with so many events, none of which is a heartbeat; its queue_id."""
    queue_id = (await fill(data, 2)).workflows[0].queue_id
    store = wiring.make_store(DataSettings(data_dir=data))
    target = "loader-api-candles"
    said = (
        encode_event(
            Event(
                event="started",
                status="started",
                queue_id=queue_id,
                producer=telemetry_id(target, queue_id),
                target=target,
                timestamp=time.time(),
                records_written=number,
                message=f"said {number}",
            )
        )
        for number in range(events)
    )
    await EventHistory(store).append((queue_id, number, body) for number, body in enumerate(said))
    await store.close()
    return queue_id
