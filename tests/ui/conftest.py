"""What the tests of the web UI share: Debian's chromium, a manager with its workers, pages that must not complain."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Error, Page, Request, Route, expect, sync_playwright

from tests.e2e import rig
from tests.engines.process import free_ports
from tests.limits import LIMIT_S
from tests.ui.tabs import Tab, Tabs

T = TypeVar("T")
LET_GO = re.compile("is already handled|disposed|has been closed")
LOOKS = (
    ("dark", "ru"),
    *(pytest.param(*look, marks=pytest.mark.long) for look in (("light", "en"), ("dark", "en"), ("light", "ru"))),
)
"""The pair that other tests do not look at, and those that add little that could differ."""

PENDING = """
if (window.pending === undefined) {
  window.pending = 0;
  const real = window.fetch;
  window.fetch = async (path, ...more) => {
    if (String(path).startsWith("/feed")) return real(path, ...more);
    pending += 1;
    try { return await real(path, ...more); } finally { pending -= 1; }
  };
}
"""
"""Counts the requests that have no answer yet, but for the feed."""
PAUSED_MS = 600_000
"""More than any screen waits until it asks by itself again."""
LONGER = r"""() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const kept = [];
  while (walk.nextNode()) kept.push([walk.currentNode, walk.currentNode.data]);
  for (const [node, text] of kept)
    node.data = text.replace(/\p{L}{3,}/gu, (word) => word + word.slice(-Math.ceil(word.length * 0.35)));
  const found = document.documentElement.scrollWidth;
  for (const [node, text] of kept) node.data = text;
  return found;
}"""
"""How wide a page is where each word is 35 % longer, as those of another language can be."""

expect.set_options(timeout=LIMIT_S * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's chromium, headless."""
    found = shutil.which("chromium")
    assert found is not None, "chromium is missing: tools/install_chromium.sh installs it"
    with sync_playwright() as playwright:
        # The sandbox needs rights that root's containers lack; all that it loads is our own.
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        launched = playwright.chromium.launch(executable_path=found, args=sandbox, timeout=LIMIT_S * 1000)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def exchange() -> Iterator[rig.Exchange]:
    """A seeded exchange; `manager` resets it before it begins."""
    with rig.exchange() as found:
        yield found


@pytest.fixture
def manager(exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    """A manager without a workflow, whose port stays the same where it is started again."""
    settings = {"STREAMFORGE_PORT": str(free_ports(1)[0])}
    exchange.reset()
    with rig.manager(tmp_path / "data", exchange.url, **settings) as found:
        yield found


@pytest.fixture(scope="session")
def empty(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager that has nothing, and is asked for nothing."""
    with rig.manager(tmp_path_factory.mktemp("empty") / "data", exchange.url) as found:
        yield found


@pytest.fixture(scope="module")
def calm(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with a workflow that has finished: an hour of candles of BTCUSDT."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("calm") / "data", exchange.url) as found:
        found.loaded("BTCUSDT", "api_candles_1m", "2024-08-01T00:00Z:2024-08-01T01:00Z")
        yield found


Opened = Callable[..., Page]


_FAILED = pytest.StashKey[bool]()
_SHOWN = 3_000
"""Characters of a page that a test which has failed prints."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def tabs(browser: Browser) -> Iterator[Tabs]:
    """The pages that tests share."""
    found = Tabs(browser)
    yield found
    found.close()


@pytest.fixture
def opened(tabs: Tabs, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Opens a page of the UI; at the end of the test none of them may have had an error, or broken its policy.

    Each is as a new one. Where the test has failed, its pages are printed, and the requests that have no answer.
    """
    complaints: list[str] = []
    used = list[tuple[Tab, str]]()
    asked = set[Request]()

    def open_page(url: str, path: str = "", *, width: int = 1280, theme: str = "light", language: str = "en") -> Page:
        tab = tabs.taken(language)
        used.append((tab, url))
        tab.lay_out(width, theme)
        page = tab.page
        page.on("request", lambda one: asked.add(one))
        page.on("request", lambda one: complaints.append(one.url) if "/undefined" in one.url else None)
        page.on("requestfinished", lambda one: asked.discard(one))
        page.on("requestfailed", lambda one: asked.discard(one))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if _complains(said.type, said.text) else None)
        page.goto(f"{url}/ui{path}")
        route = partial(Page.route, page)

        def caught(pattern: str | re.Pattern[str], handler: Callable[[Route], object], **more: int) -> None:
            route(pattern, handler, **more)
            _await_caught(page, url, route)

        page.route = caught  # type: ignore[method-assign, assignment]
        return page

    yield open_page
    failed = request.node.stash.get(_FAILED, False)
    if failed:
        print("\n".join(f"no answer: {one.method} {one.url}" for one in asked))
        print(*(text for tab, _ in used for text in tab.shown(_shown)), sep="\n")
    for tab, url in used:
        if failed:
            tab.close()
        else:
            tabs.give_back(tab, url)
    assert complaints == []


def _await_caught(page: Page, url: str, route: Callable[..., object]) -> None:
    """Return once requests of the page are caught: for a moment after it was asked for, they may still get through."""
    route(f"{url}/caught", lambda one: one.fulfill(body="caught"))
    for _ in range(1_000):
        if page.evaluate("fetch('/caught').then((answer) => answer.text())") == "caught":
            return
    raise AssertionError("requests of the page are not caught")


def _shown(page: Page) -> str:
    try:
        return f"\n{page.url}\n{page.locator('main').aria_snapshot(timeout=10_000)[:_SHOWN]}"
    except Error as error:
        return f"\n{page.url}\nnothing: {error.message}"


def _complains(kind: str, text: str) -> bool:
    """An answer that is no success, or none at all, is the page's to show; the browser notes it too."""
    return kind in ("error", "warning") and not text.startswith("Failed to load resource")


def apart(work: Callable[[], T]) -> T:
    """What `work` gives in a thread of its own: an event loop can be run there, as playwright's runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def replaced(page: Page, path: str, change: Callable[[rig.Json], None]) -> None:
    """Let the server's answers to GET `path` be changed on their way, but for refusals, after which a page asks again.

    A page that has gone on, or is closed, has let go of a request that is on its way.
    """

    def handle(route: Route) -> None:
        try:
            answer = route.fetch()
            if not answer.ok:
                route.fulfill(response=answer)
                return
            body = answer.json()
            change(body)
            route.fulfill(response=answer, json=body)
        except Error as error:
            if LET_GO.search(str(error)) is None:
                raise

    page.route(path, handle)


def halted(page: Page) -> None:
    """Stop the page's clock, which a test has installed: from now on timers end only when it runs the clock on."""
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)


def width_of(page: Page) -> int:
    """How wide the page is, in pixels, also with longer words."""
    return max(int(page.evaluate(one)) for one in ("document.documentElement.scrollWidth", LONGER))


def holds(page: Page, address: str) -> None:
    """The screen, while updates are paused, asks for nothing and stays as it is; once they go on, it asks again."""
    asked = list[str]()

    def note(request: Request) -> None:
        if re.search("/(feed|healthz|assets/)", request.url) is None:
            asked.append(request.url)

    page.add_init_script(PENDING)
    page.clock.install()
    page.goto(address)
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator("main p.quiet[role=status]")).to_have_count(0)
    page.keyboard.press("p")
    expect(page.locator(".banner button").last).to_be_visible()
    page.clock.run_for(1000)
    page.wait_for_function("() => pending === 0")  # what was begun before
    shown = page.locator("main").text_content()
    page.on("request", note)
    page.clock.run_for(PAUSED_MS)
    assert (asked, page.locator("main").text_content()) == ([], shown)
    with page.expect_request(lambda request: re.search("/(feed|healthz|access)", request.url) is None):
        page.keyboard.press("p")
    page.remove_listener("request", note)
