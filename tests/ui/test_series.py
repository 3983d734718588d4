"""The screens of series in a browser: what picture, table and list say is what coverage and records say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import expect

from tests.e2e import rig
from tests.ui.conftest import LOOKS, Opened, replaced, width_of
from tests.ui.series_page import (
    BAD,
    CELLS,
    COUNT,
    DAY,
    FIRST,
    GOOD,
    HOLE,
    LAST,
    LINK,
    UNKNOWN,
    chart,
    drawn,
    ms,
    pixels,
    rows_of,
)
from tests.ui.test_build import WEB
from tests.ui.test_screens import HOSTILE, TYPE, confirmed, seen, url_of, violations

HOURS = f"[{DAY}01:00:00.000Z, {DAY}02:00:00.000Z)"


@pytest.fixture(scope="module")
def holed(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager that has two hours of BTCUSDT with an hour between them that was not loaded, and one of ETHUSDT."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("holed") / "data", exchange.url) as found:
        for time_range in (FIRST, LAST):
            found.loaded("BTCUSDT", TYPE, time_range)
        found.loaded("ETHUSDT", TYPE, FIRST)
        yield found


def test_the_list_leads_to_the_picture(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), "/series")
    seen(page, "Series")
    expect(page.get_by_role("row")).to_have_count(3)
    row = page.get_by_role("row").filter(has_text="BTCUSDT")
    expect(row).to_match_aria_snapshot(f"""
        - row:
          - cell:
            - link "BTCUSDT {TYPE}"
          - cell "[2024-08-01 00:00, 2024-08-01 03:00)"
          - cell "120"
          - cell "1 hole unknown 1 hr"
    """)
    page.keyboard.press("/")
    page.keyboard.type("eth")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/ui/series\?prefix=eth$"))
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row").nth(1)).to_contain_text("no hole")
    page.go_back()
    row.get_by_role("link").click()
    seen(page, "BTCUSDT")
    drawn(page)
    expect(page).to_have_url(f"{url_of(holed)}/ui/series/BTCUSDT/{TYPE}")
    expect(page.get_by_text("120 records · 1 hole")).to_be_visible()


def test_the_table_is_what_the_records_and_the_coverage_say(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z"))
    drawn(page)
    rows = rows_of(page)
    records = [
        one
        for name in holed.api.get("/collections").json()["collections"]
        if "btcusdt" in name["name"]
        for one in holed.records(name["name"])
    ]
    by_time = {one["open_time"]: one for one in records}
    start_ms = ms(f"{DAY}00:00Z")
    assert len(rows) == 180
    assert len(by_time) == 120
    for at, (when, *prices, n, verdict) in enumerate(rows):
        record = by_time.get(start_ms + at * rig.MINUTE_MS)
        assert when == f"2024-08-01 {at // 60:02}:{at % 60:02}:00"
        if record is None:
            assert (prices, n, verdict.split()[-1]) == (["–"] * 5, "0 / 1", "unknown")
        else:
            wanted = [record[field] for field in ("open", "high", "low", "close", "volume")]
            assert [float(text) for text in prices] == wanted
            assert (n, verdict) == ("1 / 1", "stored")


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [
        (f"{DAY}00:00Z", f"{DAY}03:00Z", (f"{DAY}01:02Z", f"{DAY}01:58Z")),
        (f"{DAY}00:40Z", f"{DAY}01:10Z", (f"{DAY}01:01Z", f"{DAY}01:09Z")),
        ("2024-07-31T12:00Z", f"{DAY}16:00Z", (f"{DAY}01:10Z", f"{DAY}01:50Z")),
    ],
)
def test_a_hole_is_shaded_where_it_is_and_never_a_candle(
    holed: rig.Manager, opened: Opened, start: str, end: str, inside: tuple[str, str]
) -> None:
    page = opened(url_of(holed), chart("BTCUSDT", start, end))
    drawn(page)
    good, bad, unknown = pixels(page, *inside, GOOD, BAD, UNKNOWN)
    assert (good, bad) == (0, 0)
    assert unknown > 100
    good, bad, unknown = pixels(page, f"{DAY}00:42Z", f"{DAY}00:58Z", GOOD, BAD, UNKNOWN)
    assert good + bad > 20
    assert unknown == 0


def test_a_hole_in_a_coarse_bar_is_shaded_too(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), chart("BTCUSDT", "2024-07-01", "2024-09-01"))
    drawn(page)
    expect(page.get_by_text("bars of 4h")).to_be_visible()
    good, bad, unknown = pixels(page, f"{DAY}00:30Z", f"{DAY}03:30Z", GOOD, BAD, UNKNOWN)
    assert unknown > 20
    assert good + bad > 0
    assert pixels(page, "2024-08-02", "2024-08-30", GOOD, BAD) == [0, 0]


def test_zoom_and_pan_change_the_address_and_the_bars(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), f"/series/BTCUSDT/{TYPE}")
    drawn(page)
    for _ in range(12):
        page.get_by_role("button", name="Zoom out").click()
    # More than what is drawn yet has room for: three hours, doubled twelve times.
    expect(page.get_by_text("bars of 1w")).to_be_visible()
    expect(page).to_have_url(re.compile("start=2023-11-19T01%3A30%3A00Z&end=2025-04-14T01%3A30%3A00Z"))
    page.get_by_label("From").fill("2023-07-01")
    page.get_by_label("To").fill("2023-07-02")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("bars of 5m")).to_be_visible()
    drawn(page)
    expect(page.get_by_label("From")).to_have_value("2023-07-01T00:00:00Z")
    expect(page.get_by_label("To")).to_have_value("2023-07-02T00:00:00Z")
    page.get_by_role("button", name="All that was asked for").click()
    expect(page.get_by_text("bars of 1m")).to_be_visible()
    expect(page).to_have_url(re.compile(quote(f"start={DAY}00:00:00Z", safe="=")))
    drawn(page)
    box = page.locator(".chart").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 400, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 100, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile("start=2024-07-31T"))
    link = page.url
    page.reload()
    drawn(page)
    assert page.url == link
    expect(page.get_by_label("From")).to_have_value(parse_qs(urlsplit(link).query)["start"][0])


def test_keyboard_alone(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), f"/series/BTCUSDT/{TYPE}")
    drawn(page)
    keys, told = page.keyboard, page.locator("[aria-live=polite]")
    page.get_by_role("button", name="All that was asked for").focus()
    keys.press("Tab")
    expect(page.get_by_role("application", name=f"Chart of BTCUSDT {TYPE}")).to_be_focused()
    keys.press("Home")
    expect(told).to_contain_text(re.compile(r"^2024-08-01 00:00:00 · Open [\d.]+ .* · 1 of 1 records · stored$"))
    keys.press("ArrowRight")
    expect(told).to_contain_text("2024-08-01 00:01:00")
    keys.press("End")
    expect(told).to_contain_text("2024-08-01 02:59:00")
    for _ in range(3):
        keys.press("PageUp")
        keys.press("Shift+ArrowLeft")
    expect(told).to_contain_text("2024-08-01 01:29:00 · 0 of 1 records · unknown")
    keys.press("+")
    expect(page).to_have_url(re.compile("start="))
    expect(told).to_contain_text("01:29:00")
    keys.press("Enter")
    expect(page.get_by_role("region", name=f"unknown {HOLE}")).to_be_visible()
    keys.press("Escape")
    expect(told).to_have_text("")


def test_a_hole_is_repaired_from_the_page(holed: rig.Manager, exchange: rig.Exchange, opened: Opened) -> None:
    symbol = exchange.symbols[2]
    for time_range in (FIRST, LAST):
        holed.loaded(symbol, TYPE, time_range)
    page = opened(url_of(holed), chart(symbol, f"{DAY}00:55Z", f"{DAY}01:05Z"))
    drawn(page)
    # All of it, also where it goes on beyond the bars that were asked for.
    page.get_by_role("button", name="unknown [2024-08-01 01:00, ").click()
    expect(page.get_by_role("region", name=f"unknown {HOLE}")).to_be_visible()
    page.goto(f"{url_of(holed)}/ui/series/{symbol}/{TYPE}")
    drawn(page)
    page.get_by_role("button", name=f"unknown {HOLE}").click()
    hole = page.get_by_role("region", name=f"unknown {HOLE}")
    expect(hole).to_contain_text("It was not loaded yet.")
    expect(hole).to_contain_text(f"streamforge load {symbol} {TYPE} {DAY}01:00Z:{DAY}02:00Z --server {url_of(holed)}")
    confirmed(page, "Repair", f"A workflow loads {TYPE} of {symbol}, range {HOLE}.")
    expect(page.get_by_text("There is no hole in view.")).to_be_visible()
    expect(hole).to_have_count(0)
    drawn(page)
    good, bad, unknown = pixels(page, f"{DAY}01:02Z", f"{DAY}01:58Z", GOOD, BAD, UNKNOWN)
    assert good + bad > 100
    assert unknown == 0
    report = holed.api.get(f"/coverage/{symbol}/{TYPE}").json()
    assert report["complete"] is True
    workflows = holed.api.get("/queues", params={"symbol": symbol}).json()["queues"]
    asked = [one["time_range"]["requested"] for one in workflows]
    assert asked == [f"{DAY}01:00Z:{DAY}02:00Z", LAST, FIRST]


def test_series_are_compared(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z"))
    drawn(page)
    assert pixels(page, f"{DAY}00:00Z", f"{DAY}01:00Z", LINK) == [0]
    page.get_by_label("Symbol").fill("ethusdt")
    page.get_by_role("button", name="Show beside it").click()
    expect(page).to_have_url(re.compile(r"with=ETHUSDT%3Aapi_candles_1m"))
    expect(page.get_by_role("button", name=f"Remove ETHUSDT {TYPE}")).to_be_visible()
    page.reload()
    drawn(page)
    expect(page.get_by_role("button", name=f"Remove ETHUSDT {TYPE}")).to_be_visible()
    page.wait_for_function(f"() => ({COUNT})([0, 0.3, [{list(LINK)}]])[0] > 50")
    assert pixels(page, f"{DAY}01:02Z", f"{DAY}02:20Z", LINK) == [0]
    page.get_by_label("Each on its own scale").check()
    expect(page).to_have_url(re.compile("scale=own"))
    page.get_by_role("button", name="Remove ETHUSDT").click()
    expect(page.get_by_role("button", name="Remove ETHUSDT")).to_have_count(0)


def test_the_notice_of_the_charts_maker_stands_below_it(holed: rig.Manager, opened: Opened) -> None:
    (year,) = re.findall(r"Copyright (\d{4}) TradingView, Inc\.", (WEB / "dist" / "THIRD-PARTY.txt").read_text())
    page = opened(url_of(holed), chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z"))
    notice = f"TradingView Lightweight Charts™ Copyright (c) {year} TradingView, Inc."
    expect(page.locator(".readout")).to_contain_text(notice)
    link = page.locator(".readout").get_by_role("link", name="TradingView Lightweight Charts™")
    expect(link).to_have_attribute("href", "https://www.tradingview.com/")


def test_the_chosen_bar_the_open_hole_and_the_page_of_the_table_are_in_the_address(
    holed: rig.Manager, opened: Opened
) -> None:
    page = opened(url_of(holed), chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z"))
    drawn(page)
    page.get_by_role("button", name=f"unknown {HOLE}").click()
    page.locator(".chart").focus()
    page.keyboard.press("End")
    page.get_by_role("button", name="Next").click()
    at = quote(f"{DAY}02:59:00Z", safe="")
    expect(page).to_have_url(re.compile(f"bar={at}&hole={quote(f'{DAY}01:00:00Z', safe='')}&page=2$"))
    page.get_by_role("button", name="Zoom in").click()
    page.go_back()
    page.reload()
    other = opened(url_of(holed), page.url.removeprefix(f"{url_of(holed)}/ui"))
    for one in (page, other):
        hole = one.get_by_role("region", name=f"unknown {HOLE}")
        expect(hole.locator("h2 .span")).to_have_attribute("title", HOURS)
        expect(one.locator(".readout p").first).to_contain_text("2024-08-01 02:59:00")
        expect(one.get_by_text("Page 2 of 8")).to_be_visible()
        expect(one.get_by_role("rowheader").first).to_have_attribute("title", f"{DAY}00:25:00.000Z")
    other.get_by_role("region", name=f"unknown {HOLE}").get_by_role("button", name="Close").click()
    expect(other).to_have_url(re.compile(f"bar={at}&page=2$"))


def test_trades_of_the_chosen_bar_stand_beside_it(holed: rig.Manager, opened: Opened) -> None:
    minute = f"{DAY}00:00Z:{DAY}00:01Z"
    stored = holed.records(holed.loaded("ETHUSDT", "api_trades", minute)["collection"])
    holed.loaded("ETHUSDT", "api_agg_trades", f"{DAY}00:30Z:{DAY}00:31Z")  # has nothing of that bar
    page = opened(url_of(holed), f"/series/ETHUSDT/{TYPE}")
    drawn(page)
    expect(page.get_by_role("table", name="Trades")).to_have_count(0)
    page.locator(".chart").focus()
    page.keyboard.press("Home")
    rows = page.get_by_role("table", name="Trades").locator("tbody tr")
    expect(rows).to_have_count(10)
    moment = datetime.fromtimestamp(stored[0]["timestamp"] / 1000, UTC)
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    expect(rows.first.get_by_role("cell").first).to_have_attribute("title", iso)
    found = [[float(text) for text in row[1:]] for row in rows.evaluate_all(CELLS)]
    assert found == [[one["price"], one["quantity"]] for one in stored[:10]]
    title = page.get_by_role("heading", name="trades of")
    of_the_first = "First 10 trades of [2024-08-01 00:00, 2024-08-01 00:01)"
    expect(title).to_have_text(of_the_first)
    expect(page).to_have_url(re.compile("bar=2024-08-01T00%3A00%3A00Z"))
    page.reload()
    expect(rows).to_have_count(10)
    page.locator(".chart").focus()
    page.route("**/coverage/ETHUSDT/api_trades*", lambda route: None)
    with page.expect_request("**/coverage/ETHUSDT/api_trades*"):
        page.keyboard.press("ArrowRight")
    assert title.text_content() == of_the_first
    page.unroute("**/coverage/ETHUSDT/api_trades*")
    page.keyboard.press("End")
    expect(rows).to_have_count(0)


def test_the_end_of_a_live_series_follows(holed: rig.Manager, opened: Opened) -> None:
    answer = holed.api.post("/queues/start", json={"symbol": "BTCUSDT", "type": "ws_candles_1s", "since": "-1m"})
    queue_id = answer.json()["queue_id"]
    holed.until(queue_id, "some is proven", lambda one: bool(one["live"]) and one["progress"]["records_stored"] > 2)
    page = opened(url_of(holed), "/series/BTCUSDT/api_candles_1s")
    drawn(page)
    expect(page.get_by_role("link", name=queue_id)).to_be_visible()
    end = ms(page.get_by_label("To", exact=True).input_value())
    later = f"() => Date.parse([...document.querySelectorAll('main form input')][1].value) >= {end + 3000}"
    page.wait_for_function(later)
    records = holed.show(queue_id)["progress"]["records_stored"]
    holed.stopped(queue_id)
    expect(page.get_by_role("link", name=queue_id)).to_have_count(0)
    page.reload()
    drawn(page)
    assert len([row for row in rows_of(page) if row[-1] == "stored"]) >= records


def test_a_reader_sees_why_there_is_no_repair(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), "/nothing")
    replaced(page, "**/access", lambda body: body.update(role="reader"))
    page.goto(f"{url_of(holed)}/ui{chart('BTCUSDT', f'{DAY}00:00Z', f'{DAY}03:00Z')}")
    with page.expect_response("**/coverage/BTCUSDT/*"):
        page.get_by_role("button", name=f"unknown {HOLE}").click()
    repair = page.get_by_role("button", name="Repair")
    expect(repair).to_have_accessible_description("Your token is a reader's. This needs an operator's token.")
    repair.click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_with_forced_colours_holes_and_candles_are_there_too(holed: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(holed), chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z"))
    page.emulate_media(forced_colors="active")
    drawn(page)
    ink, ground = [
        tuple(one)
        for one in page.evaluate("""() => ["CanvasText", "Canvas"].map(color => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.cssText = `forced-color-adjust: none; color: ${color}`;
      return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number);
    })""")
    ]
    for begin, stop in ((f"{DAY}00:02Z", f"{DAY}00:58Z"), (f"{DAY}01:02Z", f"{DAY}01:58Z")):
        dark, light, coloured = pixels(page, begin, stop, ink, ground, UNKNOWN)
        assert dark > 100
        assert light > 100
        assert coloured == 0


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing(holed: rig.Manager, opened: Opened, theme: str, language: str) -> None:
    page = opened(url_of(holed), "/series", theme=theme, language=language)
    expect(page.get_by_role("row").nth(2)).to_be_visible()
    assert violations(page) == []
    page.goto(f"{url_of(holed)}/ui{chart('BTCUSDT', f'{DAY}00:00Z', f'{DAY}03:00Z')}&with=ETHUSDT:{TYPE}")
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.locator("main [aria-pressed]").first.click()
    expect(page.locator(".hole")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(holed: rig.Manager, opened: Opened, width: int) -> None:
    page = opened(url_of(holed), "/series", width=width, language="ru")
    for path in ("/series", chart("BTCUSDT", f"{DAY}00:00Z", f"{DAY}03:00Z")):
        page.goto(f"{url_of(holed)}/ui{path}")
        expect(page.get_by_role("table").first).to_be_visible()
        assert width_of(page) <= width


def test_nothing_stored_and_nothing_known(empty: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(empty), "/series")
    expect(page.get_by_text("streamforge load BTCUSDT api_candles_1m 2024-08-01")).to_be_visible()
    page.goto(f"{url_of(empty)}/ui/series/BTCUSDT/{TYPE}")
    expect(page.get_by_role("alert")).to_contain_text(f"nothing is known of BTCUSDT {TYPE}")
    expect(page.get_by_text(f"streamforge load BTCUSDT {TYPE} -30d")).to_be_visible()


def test_what_comes_from_elsewhere_is_text(holed: rig.Manager, opened: Opened) -> None:
    def listed(body: rig.Json) -> None:
        body["series"][0].update(symbol=HOSTILE, type=HOSTILE)

    page = opened(url_of(holed), f"/series/{quote(HOSTILE.replace('/', ''))}/{TYPE}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE.replace("/", ""))
    expect(page.get_by_role("alert").first).to_be_visible()
    replaced(page, "**/series?*", listed)
    page.goto(f"{url_of(holed)}/ui/series")
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    page.goto(f"{url_of(holed)}/ui{chart('BTCUSDT', f'{DAY}00:00Z', f'{DAY}03:00Z')}&with={quote(HOSTILE)}:x")
    drawn(page)
    assert page.locator("img, main script").count() == 0
    assert "owned" not in page.title()
