"""The chart of a series as a person uses it: holes clicked, views left and come back to, what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from streamforge_utils.model.timeranges import iso_ms
from tests.e2e import rig
from tests.e2e.stored_books import start
from tests.e2e.test_live_books import SETTINGS, verified
from tests.ui.conftest import Opened, replaced
from tests.ui.series_page import CELLS, DAY, FIRST, HOLE, LAST, LINK, chart, drawn, ms, pixels, rows_of
from tests.ui.test_screens import TYPE, url_of

SECONDS = "api_candles_1s"
BUSY = {
    "type": "urn:streamforge:problem:busy", "code": "busy", "title": "Busy", "status": 503,
    "instance": "/books/ETHUSDT", "detail": "the book is busy", "next_step": "Ask again.",
    "errors": [], "did_you_mean": [],
}  # fmt: skip


HEIGHT = """color => {
  const all = [...document.querySelectorAll('.chart canvas')];
  const areas = all.map(one => one.width * one.height);
  const { width, height } = all[areas.indexOf(Math.max(...areas))];
  const copy = new OffscreenCanvas(width, height).getContext('2d');
  copy.drawImage(all[areas.indexOf(Math.max(...areas))], 0, 0);
  const data = copy.getImageData(0, 0, width, height).data;
  const rows = new Set();
  for (let at = 0; at < data.length; at += 4) {
    if (color.every((part, i) => Math.abs(part - data[at + i]) <= 12)) rows.add(Math.floor(at / 4 / width));
  }
  return rows.size;
}"""
"""How many rows of the chart have a pixel of the colour."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager that has two hours of BTCUSDT with an hour between them that was not loaded, and one of ETHUSDT; of
    ETHUSDT also an order book of some seconds, and candles of these and of half a minute before."""
    path = tmp_path_factory.mktemp("recorded") / "data"
    with rig.exchange("--no-limits") as exchange, rig.manager(path, exchange.url, **SETTINGS) as found:
        queue_id = start(found, "ETHUSDT")
        first_ms = verified(found, queue_id)["live"]["proven_through_ms"]
        for symbol, time_range in (("BTCUSDT", FIRST), ("BTCUSDT", LAST), ("ETHUSDT", FIRST)):
            found.loaded(symbol, TYPE, time_range)
        last_ms = verified(found, queue_id, first_ms + 2500)["live"]["proven_through_ms"]
        found.stopped(queue_id)
        first, last = first_ms // 1000 * 1000, last_ms // 1000 * 1000
        found.loaded("ETHUSDT", SECONDS, f"{iso_ms(first - 30_000)}:{iso_ms(last)}")
        yield found


def test_bars_that_are_still_added_up_are_told_to_be_no_holes(recorded: rig.Manager, opened: Opened) -> None:
    def unready(body: rig.Json) -> None:
        body["computing"] = 2
        for column in ("open", "high", "low", "close", "volume", "n"):
            body[column][:2] = [None, None]

    page = opened(url_of(recorded), "/nothing")
    replaced(page, "**/bars?*", unready)
    page.goto(f"{url_of(recorded)}/ui{chart('BTCUSDT', f'{DAY}00:00Z', f'{DAY}03:00Z')}")
    told = page.get_by_text("bars are still being added up: their places are not holes")
    expect(told).to_contain_text(re.compile(r"· 2 of \d+ bars"))
    expect(page.get_by_role("cell", name="being added up", exact=True)).to_have_count(2)
    page.unroute("**/bars?*")
    expect(told).to_have_count(0)


def books(page: Page, key: str) -> int:
    """The status of the answer about the book of the bar that the key leads to, once it is shown."""
    with page.expect_response("**/books/**") as asked:
        page.keyboard.press(key)
    status = asked.value.status
    drawn(page)
    return status


def test_the_order_book_of_the_chosen_bar_stands_beside_it_and_a_failure_is_told(
    recorded: rig.Manager, opened: Opened
) -> None:
    page = opened(url_of(recorded), f"/series/ETHUSDT/{SECONDS}")
    drawn(page)
    book, told = page.get_by_role("table", name="Order book"), page.get_by_role("alert")
    page.locator(".chart").focus()
    page.keyboard.press("End")
    expect(book).to_be_visible()
    end_ms = recorded.api.get(f"/coverage/ETHUSDT/{SECONDS}").json()["span"]["end_ms"]
    query: dict[str, str | int] = {"at": iso_ms(end_ms - 1), "limit": 10}
    stored = recorded.api.get("/books/ETHUSDT", params=query).raise_for_status().json()
    rows = zip(stored["bids"], stored["asks"], strict=True)
    wanted = [[str(cell) for cell in (bid[1], bid[0], ask[0], ask[1])] for bid, ask in rows]
    assert len(wanted) == 10
    assert book.locator("tbody tr").evaluate_all(CELLS) == wanted
    expect(page.get_by_text(stored["trust"], exact=True)).to_be_visible()
    # Nothing is stored of the moment: that is no failure.
    assert books(page, "Home") == 404
    expect(book).to_have_count(0)
    expect(told).to_have_count(0)
    page.route("**/books/**", lambda route: route.fulfill(status=503, json=BUSY))
    page.keyboard.press("End")
    expect(told).to_contain_text("the book is busy")
    expect(book).to_have_count(0)
    page.unroute("**/books/**")  # it asks again by itself
    expect(book).to_be_visible()
    expect(told).to_have_count(0)
    # Nor is it hidden that nobody knows what is stored beside the series.
    page.route("**/coverage?prefix=*", lambda route: route.fulfill(status=503, json=BUSY))
    page.reload()
    expect(told).to_contain_text("the book is busy")
    page.unroute("**/coverage?prefix=*")
    expect(told).to_have_count(0)


def test_a_coarse_bar_at_an_edge_of_what_was_asked_for_is_no_hole(recorded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(recorded), chart("ETHUSDT", "2024-07-01", "2024-09-01"))
    drawn(page)
    expect(page.get_by_text("bars of 4h")).to_be_visible()
    [row] = [row for row in rows_of(page) if row[0] == "2024-08-01 00:00:00"]
    assert row[-2:] == ["60 / 60", "stored"]
    listed = page.get_by_role("region", name="Holes").get_by_role("button")
    expect(listed).to_have_text([re.compile(r"\[2024-07-01, 2024-08-01\)"), re.compile(r"\[2024-08-01 04:00, ")])
    report = recorded.api.get(f"/coverage/ETHUSDT/{TYPE}").json()
    assert [one["verdict"] for one in report["segments"]] == ["stored"]


@pytest.mark.parametrize("width", [390, 1280])
def test_a_click_on_a_hole_tells_of_it_where_it_is_seen(recorded: rig.Manager, opened: Opened, width: int) -> None:
    page = opened(url_of(recorded), chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z"), width=width)
    drawn(page)
    box = page.locator(".chart").bounding_box()
    assert box is not None
    page.route("**/coverage/BTCUSDT/**", lambda route: route.fulfill(status=503, json=BUSY))
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + 100)
    hole = page.get_by_role("region", name=f"unknown {HOLE}")
    repair = hole.get_by_role("button", name="Repair")
    expect(hole.get_by_role("alert")).to_contain_text("the book is busy")
    expect(repair).to_have_attribute("aria-disabled", "true")
    page.unroute("**/coverage/BTCUSDT/**")  # it asks again by itself
    expect(hole.get_by_role("alert")).to_have_count(0)
    expect(repair).to_have_attribute("aria-disabled", "false")
    expect(hole).to_contain_text("streamforge load")
    expect(hole).to_be_in_viewport(ratio=1)


def test_back_leads_to_the_view_before(recorded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(recorded), f"/series/BTCUSDT/{TYPE}")
    drawn(page)
    views, first = [page.url], page.evaluate("history.length")

    def went() -> None:
        expect(page).not_to_have_url(views[-1])
        drawn(page)
        views.append(page.url)

    page.get_by_role("button", name="Zoom in").click()
    went()
    page.locator(".chart").focus()
    for key in ("+", "Home", "End", "-"):
        page.keyboard.press(key)
        went()
    box = page.locator(".chart").bounding_box()
    assert box is not None
    middle = box["x"] + 400, box["y"] + 100
    page.mouse.move(*middle)
    page.mouse.down()
    # A drag that pauses is one entry nevertheless.
    for step in (1, 2):
        before = page.url
        page.mouse.move(middle[0] + step * 100, middle[1], steps=3)
        expect(page).not_to_have_url(before)
    page.mouse.up()
    went()
    page.mouse.wheel(0, -300)
    went()
    page.get_by_label("From").fill("2024-08-01T00:30Z")
    page.get_by_role("button", name="Show", exact=True).click()
    went()
    page.get_by_role("button", name="All that was asked for").click()
    went()
    page.get_by_role("button", name="All that was asked for").click()
    drawn(page)
    assert page.evaluate("history.length") == first + len(views) - 1
    for url in reversed(views[:-1]):
        page.go_back()
        expect(page).to_have_url(url)
        drawn(page)
    expect(page.get_by_label("From")).to_have_value(f"{DAY}00:00:00Z")
    assert page.url == views[0]
    page.go_forward()
    expect(page).to_have_url(views[1])


def test_per_cent_are_counted_from_the_first_price_in_view_at_any_width(recorded: rig.Manager, opened: Opened) -> None:
    found = dict[int, list[str]]()
    for width in (390, 1280):
        # At 390 pixels bars are longer than a minute: one of them has begun before the view does.
        path = chart("BTCUSDT", f"{DAY}00:07Z", f"{DAY}03:00Z") + f"&with=ETHUSDT:{TYPE}"
        page = opened(url_of(recorded), path, width=width)
        drawn(page)
        legend = page.get_by_role("region", name="Compare").get_by_role("listitem")
        expect(legend.filter(has_text="first price in view")).to_have_count(2)
        found[width] = legend.all_inner_texts()
        # On one scale with prices of another height the second series would be a flat line.
        page.wait_for_function(f"() => ({HEIGHT})({list(LINK)}) > 100")
        wide = page.get_by_text("bars of 1m").count()
        assert wide == (width == 1280)
    assert found[390] == found[1280]
    for symbol, told in zip(("BTCUSDT", "ETHUSDT"), found[390], strict=True):
        place = recorded.api.get(f"/coverage/{symbol}/{TYPE}").json()["segments"][0]["collection"]
        records = recorded.records(place, symbol=symbol, type=TYPE)
        [record] = [one for one in records if one["open_time"] == ms(f"{DAY}00:07Z")]
        assert f"0 % is {record['open']}, the first price in view, 2024-08-01 00:07:00" in told


def test_a_bar_that_still_goes_on_is_marked_and_no_hole(recorded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(recorded), "/nothing")
    replaced(page, "**/bars?*", lambda body: body["verdict"].__setitem__(-1, "pending"))
    page.goto(f"{url_of(recorded)}/ui{chart('ETHUSDT', f'{DAY}00:30Z', f'{DAY}01:00Z')}")
    drawn(page)
    expect(page.get_by_text("60 records · no hole")).to_be_visible()
    expect(page.get_by_text("There is no hole in view.")).to_be_visible()
    expect(
        page.get_by_text("Not over, or not proven yet, which is no hole: [2024-08-01 00:59, 2024-08-01 01:00)")
    ).to_be_visible()
    assert rows_of(page)[-1][-1] == "not over yet"
    spans = ("00:59", "01:00"), ("00:59:15", "00:59:45")
    marked, within = (pixels(page, f"{DAY}{first}", f"{DAY}{end}", LINK)[0] for first, end in spans)
    assert marked > 0, "a dashed line on either side"
    assert within == 0, "no pattern, no letter"
