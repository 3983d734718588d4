"""How the screens follow the feed of changes: put in place, for all tabs, also where a manager dies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, expect

from tests.e2e import rig
from tests.ui.conftest import Opened
from tests.ui.test_screens import HOUR, TYPE, url_of

ROWS = 50
DOUBLE = """
const real = window.fetch;
window.asked = 0;
window.fetch = async (path, options) => {
  if (String(path).startsWith("/queues?")) {
    window.asked += 1;
    return { ok: true, status: 200, headers: new Headers(), text: async () => JSON.stringify(listing) };
  }
  if (!String(path).startsWith("/feed")) return real(path, options);
  const start = (to) => { window.push = (text) => to.enqueue(new TextEncoder().encode(text)); };
  return new Response(new ReadableStream({ start }));
};
"""
"""A feed that says what a test pushes, and a list of which it is counted how often it is read.

Both answer at once, so that no answer to what was asked before is under way when a test looks.
"""


@pytest.fixture(scope="module")
def calm(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with a workflow that has finished."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("calm") / "data", exchange.url) as found:
        found.loaded("BTCUSDT", TYPE, HOUR)
        yield found


def push(page: Page, name: str, *bodies: object) -> None:
    """Let the feed say it."""
    page.evaluate("text => push(text)", "".join(f"event: {name}\ndata: {json.dumps(body)}\n\n" for body in bodies))


def asked(page: Page) -> int:
    """How often the list was read."""
    return int(page.evaluate("asked"))


def stored(one: rig.Json, records: int) -> rig.Json:
    return one | {"progress": one["progress"] | {"records_stored": records, "share": records / 60}}


@pytest.fixture
def driven(calm: rig.Manager, opened: Opened) -> tuple[Page, rig.Json]:
    """The list with rows that run, and a feed that says what the test pushes; the page of the list that it reads."""
    listing = calm.api.get("/queues").json()
    one = listing["queues"][-1]
    listing["queues"] = [stored(one, 0) | {"queue_id": f"wf-{n}", "status": "running"} for n in range(ROWS)]
    page = opened(url_of(calm), "/nothing")
    page.add_init_script(f"{DOUBLE}\nwindow.listing = {json.dumps(listing)};")
    page.goto(f"{url_of(calm)}/ui/workflows")
    expect(page.get_by_role("row")).to_have_count(ROWS + 1)
    page.wait_for_function("window.push !== undefined")
    before = asked(page)
    push(page, "open", {"resumed": False})
    assert asked(page) > before  # what changed before the feed was open
    return page, listing


def test_progress_is_put_in_place_and_nothing_is_asked(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven
    before = asked(page)
    for tick in range(1, 11):
        push(page, "workflow", *(stored(one, tick) for one in listing["queues"]))
    expect(page.get_by_role("row").nth(1)).to_contain_text("10 of 60 records")
    expect(page.get_by_role("row").nth(ROWS)).to_contain_text("10 of 60 records")
    page.evaluate("""() => {
        window.touched = new Set();
        const watch = new MutationObserver((found) => {
            for (const { target: at } of found)
                touched.add((at.closest ? at : at.parentElement).closest("tr").rowIndex);
        });
        watch.observe(document.querySelector("tbody"), { subtree: true, childList: true, characterData: true });
    }""")
    push(page, "workflow", stored(listing["queues"][6], 33))
    expect(page.get_by_role("row").nth(7)).to_contain_text("33 of 60 records")
    assert page.evaluate("[...touched]") == [7]
    assert asked(page) == before


def test_the_list_is_read_again_where_counts_or_rows_may_have_changed(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven

    def again(name: str, body: rig.Json, shown: str) -> None:
        before = asked(page)
        page.evaluate("found => { window.listing = found; }", listing)
        push(page, name, body)
        expect(page.get_by_role("row").nth(1)).to_contain_text(shown)
        page.wait_for_function("before => asked > before", arg=before)

    rows = listing["queues"]
    rows[0] |= {"status": "finished"}
    again("workflow", rows[0], "finished")
    again("removed", {"kind": "workflow", "id": rows.pop(0)["queue_id"], "reason": "deleted"}, rows[0]["queue_id"])
    expect(page.get_by_role("row")).to_have_count(ROWS)
    rows[0] = stored(rows[0], 44)
    again("reset", {"reason": "too much changed"}, "44 of 60 records")


def test_tabs_share_one_stream_and_one_goes_on_when_another_closes(calm: rig.Manager, opened: Opened) -> None:
    first = opened(url_of(calm), "/nothing")
    first.goto("about:blank")  # that page's own stream has ended
    streams: list[str | None] = []

    def note(request: Request) -> None:
        if "/feed?" in request.url:
            streams.append(request.headers.get("last-event-id"))

    first.context.on("request", note)
    with first.expect_response(lambda answer: "/feed?" in answer.url):
        first.goto(f"{url_of(calm)}/ui/workflows")
    second = first.context.new_page()
    second.goto(f"{url_of(calm)}/ui/workflows")
    for symbol in ("ETHUSDT", "SOLUSDT"):
        found = calm.loaded(symbol, TYPE, HOUR)
        for page in first.context.pages:
            expect(page.get_by_role("row").filter(has_text=found["queue_id"])).to_contain_text("finished")
        if symbol == "ETHUSDT":
            assert len(streams) == 1
            with second.expect_request(lambda request: "/feed?" in request.url):
                first.close()
    [begun, resumed] = streams
    assert begun is None
    assert re.fullmatch(r"[0-9a-f]{8}-\d+", resumed or "")


def test_the_feed_is_opened_once_the_first_screen_has_its_data(calm: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(calm), "/nothing")
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "/feed?" in request.url else None)
    page.add_init_script("""
        const real = window.fetch;
        const kept = new Promise((keep) => { window.answer = keep; });
        window.fetch = async (path, options) => {
            window.asked ||= String(path).startsWith("/queues?");
            if (String(path).startsWith("/queues?")) await kept;
            return real(path, options);
        };
    """)
    page.goto(f"{url_of(calm)}/ui/workflows")
    page.wait_for_function("window.asked")
    # As much as opening the feed takes.
    page.evaluate("""async () => {
        await crypto.subtle.digest("SHA-256", new Uint8Array(1));
        await navigator.locks.request("another", () => {});
        await navigator.locks.query();
        await fetch("/healthz");
    }""")
    assert streams == []
    with page.expect_request(lambda request: "/feed?" in request.url):
        page.evaluate("answer()")
    expect(page.get_by_role("table")).to_be_visible()


def test_where_the_feed_is_refused_the_screens_ask(calm: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(calm), "/nothing")
    page.route("**/feed?*", lambda route: route.fulfill(status=503, json={"detail": "busy", "next_step": "wait"}))
    page.goto(f"{url_of(calm)}/ui/workflows")
    expect(page.get_by_role("table")).to_be_visible()
    found = calm.loaded("BTCUSDT", "api_candles_1h", HOUR)
    expect(page.get_by_role("row").filter(has_text=found["queue_id"])).to_contain_text("finished")
    expect(page.locator(".banner")).to_be_hidden()


def test_a_request_without_an_answer_is_not_a_manager_without_one(calm: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(calm), "/nothing")
    page.route("**/queues?*", lambda route: route.abort())
    with page.expect_response("**/healthz") as asked:
        page.goto(f"{url_of(calm)}/ui/workflows")
    assert asked.value.ok
    expect(page.get_by_role("alert").filter(has_text="This request got no answer.")).to_be_visible()
    expect(page.locator(".banner")).to_be_hidden()
    page.unroute("**/queues?*")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("table")).to_be_visible()


def test_a_manager_that_dies_is_told_of_and_its_successor_is_followed(manager: rig.Manager, opened: Opened) -> None:
    found = manager.loaded("BTCUSDT", TYPE, HOUR)
    page = opened(url_of(manager))
    expect(page.get_by_role("row")).to_have_count(2)
    manager.kill()
    expect(page.get_by_role("alert").filter(has_text="queue-manager does not answer.")).to_be_visible()
    banner = page.locator(".banner")
    expect(banner).to_contain_text(re.compile(r"What is shown is \d+ .+ old\."))
    expect(banner).to_contain_text(re.compile(r"Next try in \d+ .+\."))
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.locator("main.stale")).to_have_count(1)
    manager.start()
    manager.api.delete(f"/queues/{found['queue_id']}").raise_for_status()
    manager.loaded("ETHUSDT", TYPE, HOUR)
    expect(page.get_by_role("row").nth(1)).to_contain_text("ETHUSDT")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(banner).to_be_hidden()
    expect(page.locator("main.stale")).to_have_count(0)
