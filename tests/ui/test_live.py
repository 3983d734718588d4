"""How the screens follow the feed of changes: put in place, for all tabs, also where a manager dies.

What is not in the feed is asked for where it tells of a change, and an answer that stayed the same is not sent again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Request, expect

from tests.e2e import rig
from tests.ui.conftest import Opened, halted
from tests.ui.pushed_feed import FEED, pass_by, push
from tests.ui.test_screens import HOUR, TYPE, url_of, violations
from tests.ui.test_start import looks

ROWS = 50
LATER_MS = 20_000
"""More than what the feed tells waits for until it is asked about; less than the list waits where it tells nothing."""
NEVER_LATE = """
const timer = window.setTimeout;
window.setTimeout = (act, ms, ...more) => ms >= 30_000 ? 0 : timer(act, ms, ...more);
"""
"""A page that is told of nothing asks for nothing either: the minute is never over."""
COVERED = """() => {
  const [bar, one] = [document.querySelector(".selection"), document.activeElement];
  return [bar.getBoundingClientRect().bottom - one.getBoundingClientRect().top, one.closest("tr")?.innerText ?? ""];
}"""
"""How far what has the focus is below the bar of what is chosen, and in which row it is."""
SHOWN_MS = 1000
"""More than changes wait for each other, to be shown together."""
DOUBLE = f"""{FEED}
window.asked = 0;
const noting = window.fetch;
window.fetch = async (path, options) => {{
  if (!String(path).startsWith("/queues?")) return noting(path, options);
  window.asked += 1;
  return {{ ok: true, status: 200, headers: new Headers(), text: async () => JSON.stringify(listing) }};
}};
"""
"""And a list of which it is counted how often it is read.

Both answer at once, so that no answer to what was asked before is under way when a test looks.
"""


def asked(page: Page) -> int:
    """How often the list was read."""
    return int(page.evaluate("asked"))


def stored(one: rig.Json, records: int) -> rig.Json:
    return one | {"progress": one["progress"] | {"records_stored": records, "share": records / 60}}


@pytest.fixture
def driven(calm: rig.Manager, opened: Opened) -> tuple[Page, rig.Json]:
    """The list with rows that run, and a feed that says what the test pushes; the page of the list that it reads.

    The clock of the page stands.
    """
    listing = calm.api.get("/queues").json()
    one = listing["queues"][-1]
    listing["queues"] = [stored(one, 0) | {"queue_id": f"wf-{n}", "status": "running"} for n in range(ROWS)]
    page = opened(url_of(calm), "/nothing")
    page.clock.install()
    page.add_init_script(f"{DOUBLE}\nwindow.listing = {json.dumps(listing)};")
    page.goto(f"{url_of(calm)}/ui/workflows")
    expect(page.get_by_role("row")).to_have_count(ROWS + 1)
    page.wait_for_function("() => window.push !== undefined")
    before = asked(page)
    push(page, "open", {"resumed": False})
    assert asked(page) > before  # what changed before the feed was open
    halted(page)
    return page, listing


def test_progress_is_put_in_place_and_nothing_is_asked(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven
    before = asked(page)
    for tick in range(1, 11):
        push(page, "workflow", *(stored(one, tick) for one in listing["queues"]))
    page.clock.run_for(SHOWN_MS)
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
    page.clock.run_for(SHOWN_MS)
    expect(page.get_by_role("row").nth(7)).to_contain_text("33 of 60 records")
    assert page.evaluate("[...touched]") == [7]
    page.clock.run_for(LATER_MS)
    assert asked(page) == before


def test_paused_updates_hold_what_is_shown_and_resumed_ones_catch_up(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven
    page.get_by_role("link", name="Show durations").click()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("0 of 60 records")
    page.get_by_role("button", name="Pause updates").click()
    before, shown = asked(page), page.locator("tbody").text_content()
    later = [stored(one, tick) for tick in (1, 2) for one in listing["queues"][:3]]
    page.evaluate("later => later.forEach((one, at) => { listing.queues[at % 3] = one; })", later)
    push(page, "workflow", *later)
    page.clock.run_for(2 * LATER_MS)
    banner = page.get_by_role("region", name="Updates")
    expect(banner).to_contain_text(re.compile(r"Updates are paused since \S+ \S+\. 3 changes wait\."))
    push(page, "reset", {"reason": "too much changed"})
    expect(banner).to_contain_text("It is not known how many changes wait.")
    page.clock.run_for(30 * LATER_MS)
    assert (asked(page), page.locator("tbody").text_content()) == (before, shown)
    page.keyboard.press("p")
    page.clock.run_for(SHOWN_MS)
    expect(row).to_contain_text("2 of 60 records")
    expect(banner).to_have_count(0)
    assert asked(page) > before


def test_a_stream_that_goes_on_where_it_broke_off_is_followed_at_once(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven
    page.evaluate("cut()")
    for _ in range(3):  # longer than it pauses
        page.clock.run_for(SHOWN_MS)
    page.wait_for_function("() => feeds === 2")
    push(page, "open", {"resumed": True})
    page.clock.run_for(SHOWN_MS)
    before = asked(page)
    page.clock.run_for(LATER_MS)
    assert asked(page) == before, "nothing has changed"
    push(page, "workflow", stored(listing["queues"][6], 33))
    page.clock.run_for(SHOWN_MS)
    expect(page.get_by_role("row").nth(7)).to_contain_text("33 of 60 records")


def test_rate_and_time_left_are_told(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven
    one = stored(listing["queues"][0], 20)
    push(page, "workflow", one | {"progress": one["progress"] | {"rate": 14.34, "eta_seconds": 125}})
    page.clock.run_for(SHOWN_MS)
    row = page.get_by_role("row").nth(1)
    expect(row.get_by_role("cell").nth(4)).to_contain_text("33.3% 20 of 60 records")
    expect(row.get_by_role("cell").nth(5)).to_have_text("14.3")
    expect(row.get_by_role("cell").nth(6)).to_have_text("2 min 5 sec")


@pytest.mark.parametrize("width", [1280, 390])
def test_what_takes_the_focus_is_below_the_bar_of_what_is_chosen(driven: tuple[Page, rig.Json], width: int) -> None:
    page, _ = driven
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_label("All on this page").check()
    expect(page.get_by_role("group", name="Chosen workflows")).to_contain_text(f"{ROWS} workflows chosen")
    page.locator("[data-row]").last.focus()
    at = list[str]()
    for _ in range(2 * ROWS - 2):
        page.keyboard.press("Shift+Tab")
        covered, name = page.evaluate(COVERED)
        assert covered <= 0, name
        at.append(name)
    assert "BTCUSDT" in at[-1]


def test_the_list_is_read_again_where_counts_or_rows_may_have_changed(driven: tuple[Page, rig.Json]) -> None:
    page, listing = driven

    def again(name: str, body: rig.Json, shown: str) -> None:
        before = asked(page)
        page.evaluate("found => { window.listing = found; }", listing)
        page.clock.set_system_time(page.evaluate("Date.now()") / 1000 - 3600)  # somebody sets it right
        push(page, name, body)
        page.clock.run_for(LATER_MS)
        expect(page.get_by_role("row").nth(1)).to_contain_text(shown)
        assert asked(page) > before

    rows = listing["queues"]
    rows[0] |= {"status": "finished"}
    again("workflow", rows[0], "finished")
    again("removed", {"kind": "workflow", "id": rows.pop(0)["queue_id"], "reason": "deleted"}, rows[0]["queue_id"])
    expect(page.get_by_role("row")).to_have_count(ROWS)
    for older in (1, 2):  # the second one is held for a moment
        push(page, "workflow", stored(rows[0], older))
    rows[0] = stored(rows[0], 44)
    again("reset", {"reason": "too much changed"}, "44 of 60 records")


@pytest.fixture
def still(calm: rig.Manager, opened: Opened) -> Callable[[str, str], tuple[Page, Callable[[], int]]]:
    """Opens a screen whose time stands still, with a feed that the test pushes; tells how often it has asked."""

    def open_screen(screen: str, asks: str) -> tuple[Page, Callable[[], int]]:
        page = opened(url_of(calm), "/nothing")
        page.add_init_script(FEED)
        page.clock.install(time=1_800_000_000)
        page.clock.pause_at(1_800_000_001)
        page.goto(f"{url_of(calm)}/ui/{screen}")
        page.wait_for_function("asks => window.push !== undefined && paths.some(one => one.startsWith(asks))", arg=asks)
        push(page, "open", {"resumed": False})
        pass_by(page, 5)  # what changed before the feed was open is asked for

        def count() -> int:
            return int(page.evaluate("asks => paths.filter(one => one.startsWith(asks)).length", asks))

        return page, count

    return open_screen


@pytest.mark.parametrize("screen", ["dead-letters", "series", "coverage"])
def test_what_workflows_bring_about_is_asked_for_where_one_changes_and_else_each_minute(
    calm: rig.Manager, still: Callable[[str, str], tuple[Page, Callable[[], int]]], screen: str
) -> None:
    page, asked = still(screen, f"/{screen}?")
    before = asked()
    pass_by(page, 45)
    assert asked() == before
    (one, *_) = calm.api.get("/queues").json()["queues"]
    push(page, "workflow", one | {"queue_id": "wf-new"})
    pass_by(page, 5)
    assert asked() == before + 1
    pass_by(page, 60)
    assert asked() == before + 2


def test_a_schedule_is_put_in_place(
    calm: rig.Manager, still: Callable[[str, str], tuple[Page, Callable[[], int]]]
) -> None:
    asked_for = {"symbols": ["ETHUSDT"], "type": TYPE, "cron": "5 0 * * *", "time_range": "yesterday"}
    one = calm.api.post("/schedules", json={"name": "nightly", **asked_for}).raise_for_status().json()
    page, asked = still("schedules", "/schedules")
    expect(page.get_by_role("row")).to_have_count(2)
    before = asked()
    push(page, "schedule", one | {"overdue": "its run 7 is still going on"})
    expect(page.get_by_role("row").nth(1)).to_contain_text("its run 7 is still going on")
    pass_by(page, 30)
    assert asked() == before
    calm.api.delete("/schedules/nightly").raise_for_status()
    push(page, "removed", {"kind": "schedule", "id": "nightly", "reason": "deleted"})
    pass_by(page, 5)
    expect(page.get_by_role("row")).to_have_count(0)
    assert asked() == before + 1


def test_a_picture_that_did_not_change_is_not_sent_again(calm: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(calm), f"/series/BTCUSDT/{TYPE}")
    shown = page.get_by_role("heading", name=re.compile("^Bars in view"))
    expect(shown).to_be_visible()
    page.get_by_role("link", name="Schedules").click()
    expect(shown).to_have_count(0)
    with page.expect_response("**/bars?*") as again:
        page.go_back()
    expect(shown).to_be_visible()
    assert (again.value.status, again.value.request.headers["if-none-match"][:1]) == (304, '"')


@pytest.mark.long
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
    second, third = (first.context.new_page() for _ in range(2))
    third.add_init_script(NEVER_LATE)
    for number, page in enumerate((second, third), 1):
        page.goto(f"{url_of(calm)}/ui/workflows")
        page.wait_for_function("async n => (await navigator.locks.query()).pending.length === n", arg=number)
    for symbol in ("ETHUSDT", "SOLUSDT", "BNBUSDT"):
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
    page.wait_for_function("() => window.asked")
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


def test_what_the_feed_tells_is_shown_where_nothing_else_is_heard(
    exchange: rig.Exchange, calm: rig.Manager, opened: Opened
) -> None:
    exchange.switch_on(rig.HELD)
    queue_id = calm.half_loaded("ETHUSDT", "2024-08")
    page = opened(url_of(calm), "/nothing")
    with page.expect_response(lambda answer: "/feed?" in answer.url):
        page.goto(f"{url_of(calm)}/ui/workflows")
    row = page.get_by_role("row").filter(has_text=queue_id)
    expect(row).to_contain_text("running")
    page.route("**/queues?*", lambda route: route.abort())
    exchange.lift_faults()
    calm.finished(queue_id)
    expect(row).to_contain_text("finished")


@pytest.mark.long
@pytest.mark.parametrize("path", ["**/feed?*", "**/assets/feedworker-*"])
def test_where_the_feed_is_refused_the_screens_ask(calm: rig.Manager, opened: Opened, path: str) -> None:
    page = opened(url_of(calm), "/nothing")
    page.route(path, lambda route: route.fulfill(status=503, json={"detail": "busy", "next_step": "wait"}))
    page.goto(f"{url_of(calm)}/ui/workflows")
    expect(page.get_by_role("table")).to_be_visible()
    found = calm.loaded("BTCUSDT", "api_candles_1h", HOUR)
    expect(page.get_by_role("row").filter(has_text=found["queue_id"])).to_contain_text("finished")
    expect(page.locator(".banner")).to_be_hidden()


def test_a_request_without_an_answer_is_not_a_manager_without_one(calm: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(calm), "/nothing")
    page.clock.install(time=1_800_000_000)
    page.clock.pause_at(1_800_000_001)  # it asks for nothing again by itself
    for path in ("**/queues?*", "**/feed?*"):
        page.route(path, lambda route: route.abort())
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
    page = opened(url_of(manager), "/nothing")
    page.clock.install(time=0)
    page.goto(f"{url_of(manager)}/ui/workflows")
    expect(page.get_by_role("row")).to_have_count(2)
    for language in ("ru", "en"):  # their texts are there from now on
        page.locator(".settings select").nth(2).select_option(language)
        expect(page.locator("html")).to_have_attribute("lang", language)
    manager.kill()
    expect(page.get_by_role("alert").filter(has_text="queue-manager does not answer.")).to_be_visible()
    banner = page.locator(".banner")
    expect(banner).to_contain_text(re.compile(r"What is shown is (\d+ mins? )?\d+ secs? old\."))
    expect(banner).to_contain_text(re.compile(r"Next try in \d+ .+\."))
    expect(page.get_by_text("Next try in")).to_have_count(1)
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.locator("main.stale")).to_have_count(1)
    assert [violations(page) for _ in looks(page)] == 4 * [[]]
    manager.start()
    manager.api.delete(f"/queues/{found['queue_id']}").raise_for_status()
    manager.loaded("ETHUSDT", TYPE, HOUR)
    expect(page.get_by_role("row").nth(1)).to_contain_text("ETHUSDT")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(banner).to_be_hidden()
    expect(page.locator("main.stale")).to_have_count(0)
