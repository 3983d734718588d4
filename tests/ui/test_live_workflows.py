"""How a live workflow does, on the screens: of real streams that the test exchange spoils, and of each state."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e import rig
from tests.e2e.stored_books import is_verified, start
from tests.e2e.test_live import QUICK
from tests.ui.conftest import Opened, replaced, width_of
from tests.ui.pushed_feed import FEED, pass_by, push
from tests.ui.test_screens import HOSTILE, url_of, violations
from tests.ui.test_start import looks

AGE = re.compile(r"\d+ (sec|min) ago")
STATES = {"live": "live", "syncing": "syncing", "behind": "behind", "suspect": "suspect"}
HOLE = {"start": "", "end": "", "start_ms": 1_722_470_400_000, "end_ms": 1_722_470_460_000, "verdict": "unknown"}
TOLD = {
    "frame_age_seconds": 1.0,
    "reconnects": 3,
    "failure": HOSTILE,
    "backfilled": 1200,
    "refused": 2,
    "refusal": HOSTILE,
    "dropped": 7,
    "records_waiting": 5,
    "held_bytes": 4096,
    "clock_offset_ms": 7000.0,
    "open_holes": 7,
    "holes": [HOLE | {"first_id": 12_345_678_901 + n, "last_id": 12_345_678_999} for n in range(6)],
    "repair_at": "2100-01-01T00:00:00Z",
    "supplement_failure": HOSTILE,
    "trust": "suspect",
    "why": HOSTILE,
    "verified_share": 0.5,
    "clean_share": 0.25,
    "lost_seconds": 90.0,
}
"""All that can be told of a live workflow."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--no-limits", "--trades", "1667") as found:
        yield found


@pytest.fixture(scope="module")
def recording(
    exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[rig.Manager, dict[str, str]]]:
    """A manager that records the order book of ETHUSDT and the trades of BTCUSDT, and the workflow of each."""
    settings = QUICK | {"STREAMFORGE_BASKET_SIZE": "1"}
    with rig.manager(tmp_path_factory.mktemp("recording") / "data", exchange.url, **settings) as found:
        answer = found.api.post("/queues/start", json={"symbol": "BTCUSDT", "type": "ws_trades"})
        ids = {"BTCUSDT": str(answer.json()["queue_id"]), "ETHUSDT": start(found, "ETHUSDT")}
        found.until(ids["BTCUSDT"], "it is live", lambda one: bool(one["live"]) and one["live"]["state"] == "live")
        found.until(ids["ETHUSDT"], "its book is verified", is_verified)
        yield found, ids
        exchange.lift_faults()
        for queue_id in ids.values():
            found.stopped(queue_id)


def stream(page: Page) -> Locator:
    return page.get_by_role("region", name="Stream")


def fact(page: Page, name: str) -> Locator:
    return stream(page).locator("dl.facts > div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def row(page: Page, queue_id: str) -> Locator:
    return page.get_by_role("row").filter(has_text=queue_id)


def well_made(page: Page) -> None:
    """In each look and width it is accessible and no wider than its window; what comes from elsewhere is text."""
    for _ in looks(page):
        for width in (390, 1280):  # the wide one has the settings
            page.set_viewport_size({"width": width, "height": 800})
            assert violations(page) == []
            assert width_of(page) <= width
    assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


def test_a_cut_stream_is_told_of_until_it_is_live_again(
    exchange: rig.Exchange, recording: tuple[rig.Manager, dict[str, str]], opened: Opened
) -> None:
    manager, ids = recording
    one = opened(url_of(manager), f"/workflows/{ids['ETHUSDT']}")
    listed, drawn = opened(url_of(manager), "/workflows"), opened(url_of(manager), "/series/ETHUSDT/ws_orderbook")
    line = drawn.locator("p").filter(has=drawn.get_by_role("link", name=ids["ETHUSDT"]))

    def shown(state: str, reason: str) -> None:
        expect(stream(one).locator(".state")).to_contain_text(f"{state} {reason}")
        cells = row(listed, ids["ETHUSDT"]).get_by_role("cell")
        expect(cells.nth(1)).to_have_text(f"{state} running")
        expect(cells.nth(4)).to_contain_text(AGE)
        expect(line).to_contain_text(re.compile(rf"{state}.* · Proven through .*, {AGE.pattern} · Newest frame: "))

    shown("live", "It is proven up to a moment ago")
    expect(fact(one, "Order book")).to_contain_text("verified")
    expect(fact(one, "Reconnects")).to_have_text("0")
    expect(fact(one, "Proven through")).to_contain_text(AGE)
    exchange.switch_on("429:path=depth,symbol=ETHUSDT,retry_after=1")
    exchange.switch_on("stream-reset:stream=ethusdt@depth*,count=1")
    shown("syncing", "Its order book is not verified.")
    expect(fact(one, "Order book")).to_contain_text("cannot be verified: ")
    expect(fact(one, "Lacking")).to_contain_text("lost for ever")
    expect(fact(one, "Reconnects")).to_contain_text("it broke off")
    exchange.lift_faults()
    shown("live", "It is proven up to a moment ago")
    expect(fact(one, "Order book")).to_contain_text(re.compile(r"verified: \d"))
    exchange.switch_on("429:path=depth,symbol=ETHUSDT,retry_after=1")
    exchange.switch_on("ticker-differs:symbol=ETHUSDT,kind=price")  # one between two diffs is not compared
    shown("suspect", "Something speaks against its order book.")
    expect(fact(one, "Order book")).to_contain_text("suspect: witness differs")
    exchange.lift_faults()
    shown("live", "It is proven up to a moment ago")


@pytest.mark.long
def test_a_stream_that_is_silent_for_a_minute_is_behind_until_it_is_live_again(
    exchange: rig.Exchange, recording: tuple[rig.Manager, dict[str, str]], opened: Opened
) -> None:
    manager, ids = recording
    one, listed = (opened(url_of(manager), path) for path in (f"/workflows/{ids['BTCUSDT']}", "/workflows"))
    status = row(listed, ids["BTCUSDT"]).get_by_role("cell").nth(1)
    expect(stream(one).locator(".state")).to_contain_text("live ")
    expect(status).to_have_text("live running")
    exchange.switch_on("stream-refused:status=503")
    exchange.switch_on("stream-reset:stream=btcusdt@trade,count=1")
    expect(stream(one).locator(".state")).to_have_text(re.compile(r"behind No frame has come for \d+ min"))
    expect(status).to_have_text("behind running")
    expect(fact(one, "Proven through")).to_contain_text(re.compile(r"\d min"))
    exchange.lift_faults()
    expect(stream(one).locator(".state")).to_contain_text("live ")
    expect(status).to_have_text("live running")


@pytest.fixture
def silent(recording: tuple[rig.Manager, dict[str, str]], opened: Opened) -> Page:
    """A page whose feed says nothing, and which has opened no screen yet."""
    page = opened(url_of(recording[0]), "/nothing")
    page.add_init_script(FEED)
    return page


def test_ages_go_on_without_a_request_and_silence_is_not_live(
    recording: tuple[rig.Manager, dict[str, str]], silent: Page
) -> None:
    manager, ids = recording

    def change(body: rig.Json) -> None:
        for one in body["queues"]:
            one["live"] |= {"state": "live", "behind_seconds": 0.0, "frame_age_seconds": 30.0, "trust": None}
            one["waiting_for"] = None

    def seconds() -> int:
        [found] = re.findall(r"proven: (\d+) sec ago", row(silent, ids["BTCUSDT"]).inner_text())
        return int(found)

    def asked() -> list[str]:
        return [one for one in silent.evaluate("paths") if one.startswith("/queues")]

    replaced(silent, "**/queues?*", change)
    # The server's clock, which is not the page's here, is not told of again.
    silent.route("**/access", lambda route: route.fulfill(json=route.fetch().json()))
    silent.clock.install(time=1_800_000_000)
    silent.clock.pause_at(1_800_000_001)
    silent.goto(f"{url_of(manager)}/ui/workflows")
    silent.wait_for_function("() => window.push !== undefined")
    push(silent, "open", {"resumed": False})
    pass_by(silent, 5)  # what changed before the feed was open is asked for
    status = row(silent, ids["BTCUSDT"]).get_by_role("cell").nth(1)
    before, begun_s = asked(), seconds()
    pass_by(silent, 20)
    assert seconds() == begun_s + 20
    expect(status).to_have_text("live running")
    pass_by(silent, 15)
    expect(status).to_have_text("behind running")
    expect(row(silent, ids["BTCUSDT"])).to_contain_text(f"No frame has come for 1 min {begun_s + 5} sec.")
    assert (seconds(), asked()) == (begun_s + 35, before)


def listed(manager: rig.Manager, queue_id: str, page: Page) -> None:
    """The list has a row of each state, and one of a workflow that nobody drives."""

    def change(body: rig.Json) -> None:
        [one] = [each for each in body["queues"] if each["queue_id"] == queue_id]
        told = {"proven_through_ms": time.time_ns() // 1_000_000 - 200_000, "behind_seconds": 200.0} | TOLD
        rows = [
            one | {"queue_id": f"wf-{name}", "waiting_for": None, "live": one["live"] | told | {"state": state}}
            for name, state in (STATES | {"alone": "live"}).items()
        ]
        rows[-1] |= {"undriven": HOSTILE}
        body["queues"] = rows

    replaced(page, "**/queues?*", change)
    page.goto(f"{url_of(manager)}/ui/workflows")
    expect(page.get_by_role("row")).to_have_count(len(STATES) + 2)


def test_each_state_differs_in_the_list_without_colour_too(
    recording: tuple[rig.Manager, dict[str, str]], silent: Page
) -> None:
    manager, ids = recording
    listed(manager, ids["BTCUSDT"], silent)
    words = [*STATES, "not driven"]
    rows = [row(silent, f"wf-{name}") for name in (*STATES, "alone")]
    for one, word in zip(rows, words, strict=True):
        expect(one.get_by_role("cell").nth(1)).to_have_text(f"{word} running")
        expect(one).to_contain_text(re.compile(r"proven: 3 min \d+ sec ago"))
    shapes = [one.locator(".mark path").get_attribute("d") for one in rows]
    assert len({*shapes, "M4 2l10 6-10 6z"}) == len(words) + 1  # the last one is that of what runs
    marked = [one.evaluate("one => getComputedStyle(one).boxShadow !== 'none'") for one in rows]
    assert marked == [word != "live" for word in words]
    expect(rows[3]).to_contain_text("7 holes are open.")
    well_made(silent)


def test_all_that_can_be_told_is_told_in_words(recording: tuple[rig.Manager, dict[str, str]], silent: Page) -> None:
    manager, ids = recording
    change = TOLD | {"state": "suspect"}
    replaced(silent, "**/queues/*", lambda body: body["live"].update(change) if "live" in body else None)
    silent.goto(f"{url_of(manager)}/ui/workflows/{ids['BTCUSDT']}")
    expect(stream(silent).locator(".state")).to_contain_text("suspect 7 holes are open.")
    facts = {
        "Lacking": ["7 open holes", "1 min 30 sec lost for ever", "Loaded at 2100-01-01 00:00:00, in ", HOSTILE],
        "Order book": [f"suspect: {HOSTILE}", "verified: 50% of the time", "not verified, but clean: 25%"],
        "Reconnects": ["3", HOSTILE, "asked for by requests: 1,200"],
        "On their way to the store": ["5 records", "4.1 kB held back", "7 messages had no room"],
        "Refused messages": ["2", HOSTILE],
        "Clock of the exchange": ["7 sec ahead of the loader's"],
    }
    for name, texts in facts.items():
        for text in texts:
            expect(fact(silent, name)).to_contain_text(text)
    holes = stream(silent).get_by_role("list", name="Open holes").get_by_role("listitem")
    expect(holes).to_have_count(6)
    expect(holes.first).to_contain_text("unknown [2024-08-01 00:00, 2024-08-01 00:01) ids 12345678901 to 12345678999")
    expect(holes.last).to_have_text("2 more holes")
    well_made(silent)
    # What there is nothing to say of is not there.
    change |= {"refused": 0, "refusal": None, "clock_offset_ms": 12.0, "trust": None, "verified_share": None}
    change |= {"open_holes": 0, "holes": [], "lost_seconds": None, "repair_at": None, "state": "live"}
    silent.locator(".settings select").nth(2).select_option("en")
    push(silent, "workflow", manager.show(ids["BTCUSDT"]))
    expect(fact(silent, "Lacking")).to_have_text("nothing")
    for name in ("Refused messages", "Clock of the exchange", "Order book"):
        expect(fact(silent, name)).to_have_count(0)
    expect(stream(silent).get_by_role("list")).to_have_count(0)


def test_what_has_no_bars_leads_to_its_coverage_and_to_no_error(
    recording: tuple[rig.Manager, dict[str, str]], opened: Opened
) -> None:
    manager, ids = recording
    page = opened(url_of(manager), "/series")
    refused = list[str]()
    page.on("response", lambda answer: None if answer.ok else refused.append(answer.url))
    name = "ETHUSDT ws_orderbook"
    shown = page.get_by_role("table", name="Coverage").get_by_role("row").filter(has_text=name)

    def leads(path: str, link: str) -> None:
        page.goto(f"{url_of(manager)}/ui{path}")
        page.get_by_role("link", name=link).click()
        expect(page).to_have_url(re.compile(r"/ui/coverage\?prefix=ETHUSDT&type=ws_orderbook"))
        expect(shown).to_have_count(1)

    leads("/series", name)
    leads(f"/workflows/{ids['ETHUSDT']}", "show what is stored of this range")
    leads("/series/ETHUSDT/ws_orderbook", "Show its coverage")
    at = manager.show(ids["ETHUSDT"])["live"]["proven_through_ms"] - 1
    page.goto(f"{url_of(manager)}/ui/coverage?type=ws_orderbook&series={name.replace(' ', '+')}&at={at}")
    expect(page.get_by_role("region").filter(has=page.get_by_role("heading", name=name))).to_contain_text("Length")
    expect(page.get_by_role("link", name="Open the series here")).to_have_count(0)
    assert refused == []
