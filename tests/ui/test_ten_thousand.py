"""Ten thousand workflows: the server counts and pages, and the page stays as small and as quiet as with fifty."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from playwright.sync_api import Page, expect

from benchmarks.common.stored_workflows import fill
from streamforge.manager.engine.document import Status, Workflow
from tests.e2e import rig
from tests.ui.conftest import Opened

WORKFLOWS = 10_000
ROWS = 50
ELEMENTS = 2500
"""Of a page with fifty rows; each further workflow that were in it would add twenty."""


class Many(msgspec.Struct, frozen=True):
    """A manager's address, and what it remembers, newest first."""

    url: str
    workflows: list[Workflow]

    def those(self, fits: Callable[[Workflow], bool]) -> list[Workflow]:
        return [one for one in self.workflows if fits(one)]


@pytest.fixture(scope="module")
def many(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    data = tmp_path_factory.mktemp("many") / "data"
    with ThreadPoolExecutor(1) as beside:  # in this thread the browser's event loop may run
        filled = beside.submit(asyncio.run, fill(data, WORKFLOWS)).result()
    exchange.reset()
    with rig.manager(data, exchange.url) as found:
        yield Many(str(found.api.base_url).rstrip("/"), filled.workflows[::-1])


def listed(page: Page, workflows: list[Workflow]) -> None:
    """Exactly these are in the list, in this order, and the page is no larger for all the others."""
    shown = page.locator("[data-row]")
    expect(shown).to_have_count(len(workflows))
    expect(page.locator("tbody tr").last).to_contain_text(workflows[-1].queue_id)
    assert [text.rpartition("/")[2] for text in shown.evaluate_all("rows => rows.map((row) => row.href)")] == [
        one.queue_id for one in workflows
    ]
    assert page.evaluate("document.querySelectorAll('*').length") < ELEMENTS


def counted(page: Page, workflows: list[Workflow]) -> None:
    """The histogram says how many there are of each status."""
    counts = Counter(one.status for one in workflows)
    for status in Status:
        expect(page.get_by_role("link", name=f"{status.value} {counts[status]:,}", exact=True)).to_be_visible()


def asked(page: Page) -> list[str]:
    """What the page asks from now on; it grows."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url))
    return found


@pytest.mark.long
def test_fifty_are_shown_and_all_are_counted(many: Many, opened: Opened) -> None:
    page = opened(many.url)
    listed(page, many.workflows[:ROWS])
    counted(page, many.workflows)


@pytest.mark.long
def test_every_page_is_the_next_fifty(many: Many, opened: Opened) -> None:
    page = opened(many.url)
    for number in range(4):
        listed(page, many.workflows[number * ROWS : (number + 1) * ROWS])
        if number < 3:
            page.get_by_role("link", name="Older").click()
            expect(page).to_have_url(re.compile(f"cursor={many.workflows[(number + 1) * ROWS - 1].queue_id}"))
    page.go_back()
    listed(page, many.workflows[2 * ROWS : 3 * ROWS])
    page.goto(f"{many.url}/ui/workflows?cursor={many.workflows[-ROWS - 1].queue_id}")
    listed(page, many.workflows[-ROWS:])
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    expect(page.get_by_role("link", name="Older")).to_have_count(0)


@pytest.mark.long
def test_filters_and_search_go_through_all_of_them(many: Many, opened: Opened) -> None:
    page = opened(many.url)
    found = many.those(lambda one: one.symbol == "ETHUSDT")
    page.get_by_role("searchbox").fill("ethu")
    page.keyboard.press("Enter")
    listed(page, found[:ROWS])
    counted(page, found)
    page.get_by_role("link", name=re.compile("^error")).click()
    listed(page, [one for one in found if one.status is Status.ERROR][:ROWS])
    counted(page, found)  # what another status would show
    page.goto(f"{many.url}/ui/workflows?type=api_candles_1d&status=interrupted&status=error")
    of_type = many.those(lambda one: one.type == "api_candles_1d")
    listed(page, [one for one in of_type if one.status is not Status.FINISHED][:ROWS])
    counted(page, of_type)
    oldest = many.workflows[-1]
    page.goto(f"{many.url}/ui/workflows?search={oldest.queue_id}")
    listed(page, [oldest])


@pytest.mark.long
def test_few_requests_are_made_whatever_is_stored(many: Many, opened: Opened) -> None:
    page = opened(many.url, "/nothing")
    urls = asked(page)
    page.goto(f"{many.url}/ui/workflows")
    listed(page, many.workflows[:ROWS])
    assert len({url for url in urls if urlsplit(url).path.startswith("/ui")}) <= 30
    page.get_by_role("searchbox").press_sequentially("btcusdt")
    page.keyboard.press("Enter")
    listed(page, many.those(lambda one: one.symbol == "BTCUSDT")[:ROWS])
    lists = [parse_qs(urlsplit(url).query) for url in urls if urlsplit(url).path == "/queues"]
    assert {tuple(query.get("search", ())) for query in lists} == {(), ("btcusdt",)}  # not one for each letter
    assert {tuple(query["limit"]) for query in lists} == {(str(ROWS),)}
    of_one = {urlsplit(url).path for url in urls if urlsplit(url).path.startswith("/queues/")}
    assert of_one == set()  # no row asks for itself
