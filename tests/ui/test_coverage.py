"""The screen of coverage in a browser, before a real manager: ranges that workers have loaded, and every verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Request, expect

from streamforge_utils.model.coverage import Verdict
from tests.e2e import rig
from tests.ui.conftest import LOOKS, Opened, replaced, width_of
from tests.ui.coverage_page import (
    HOUR_MS,
    MINUTE_MS,
    START_MS,
    band,
    contrasts,
    drawn,
    in_view,
    know,
    known,
    minutes,
    row,
)
from tests.ui.test_screens import HOSTILE, TYPE, seen, url_of, violations

SPAN = "2024-08-01T00:00Z:2024-08-01T04:00Z"
VIEW = f"start={START_MS}&end={START_MS + 4 * HOUR_MS}"
MANY, NODES = 2000, 3500


@pytest.fixture(scope="module")
def covered(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """BTCUSDT and ETHUSDT with a hole of two hours, two that are not loaded yet, and one of every verdict."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("covered") / "data", exchange.url) as found:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            for hours in ("2024-08-01T00:00Z:2024-08-01T01:00Z", "2024-08-01T03:00Z:2024-08-01T04:00Z"):
                found.loaded(symbol, TYPE, hours)
        asked = {symbol: known(*[Verdict.UNKNOWN] * 8) for symbol in ("BNBUSDT", "SOLUSDT")}
        know(found, {**asked, "ALLUSDT": known(*Verdict)})
        yield found


def test_the_picture_says_what_the_coverage_says(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), f"/coverage?{VIEW}")
    seen(page, "Coverage")
    for name in ("BTCUSDT", "ALLUSDT"):
        expect(band(page, name)).to_be_visible()
        answer = covered.api.get("/coverage", params={"prefix": name, "start": SPAN[:17], "end": SPAN[18:]}).json()
        assert drawn(page, name) == minutes(answer["series"][0]["runs"])
        command = ["-m", "streamforge.cli", "coverage", name, TYPE, SPAN, "--json", "--server", url_of(covered)]
        told = json.loads(rig.ended(*command).stdout)["segments"]
        assert drawn(page, name) == minutes([[one["start_ms"], one["end_ms"], one["verdict"]] for one in told])
    assert drawn(page, "BTCUSDT") == [(0, 60, "stored"), (60, 180, "unknown"), (180, 240, "stored")]
    assert [verdict for _, _, verdict in drawn(page, "ALLUSDT")] == [*Verdict]
    assert sorted(band(page, "ALLUSDT").locator("text").all_text_contents()) == sorted("SECPLXOU")
    expect(row(page, "BTCUSDT")).to_contain_text(re.compile(r"50%\s*2\shrs?\s*2024-08-01 04:00"))


def test_a_click_tells_what_a_run_is_and_what_to_do_about_it(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), f"/coverage?{VIEW}&prefix=A")
    band(page, "ALLUSDT").click(
        position={"x": band(page, "ALLUSDT").evaluate("band => band.clientWidth") * 11 / 16, "y": 9}
    )
    details = page.get_by_role("region", name="expired ALLUSDT")
    expect(details).to_contain_text("[2024-08-01 02:30, 2024-08-01 03:00)")
    expect(details).to_contain_text("Removed by retention.")
    expect(details).to_contain_text(re.compile(r"Records\s*0\s*Reason\s*removed by retention"))
    told = f"{TYPE} 2024-08-01T02:30Z:2024-08-01T03:00Z --server {url_of(covered)}"
    commands: list[str | re.Pattern[str]] = [
        f"streamforge load ALLUSDT {told}",
        f"streamforge coverage ALLUSDT {told}",
        re.compile("^curl "),
    ]
    expect(details.locator("code")).to_have_text(commands)
    start = START_MS + 5 * HOUR_MS // 2
    link = details.get_by_role("link", name="Open the series here")
    expect(link).to_have_attribute("href", f"/ui/series/ALLUSDT/{TYPE}?start={start}&end={start + HOUR_MS // 2}")
    page.reload()
    expect(details).to_be_visible()
    details.get_by_role("button", name="Close").click()
    expect(details).to_have_count(0)
    page.go_back()
    expect(details).to_be_visible()


def test_more_runs_than_can_be_drawn_are_told_in_the_details(covered: rig.Manager, opened: Opened) -> None:
    kept, gone = Verdict.STORED, Verdict.LOST
    know(covered, {"FINEUSDT": known(*[kept, gone] * 200, length_ms=MINUTE_MS)})
    page = opened(url_of(covered), f"/coverage?start={START_MS}&end={START_MS + 400 * MINUTE_MS}&prefix=FINE")
    expect(row(page, "FINEUSDT")).to_contain_text("50%")
    expect(band(page, "FINEUSDT")).to_have_attribute("aria-valuetext", re.compile("^1 of 1: lost "))
    band(page, "FINEUSDT").press("Enter")
    ranges = page.get_by_role("table", name="Ranges in it").get_by_role("row")
    expect(ranges).to_have_count(21)
    expect(ranges.nth(2)).to_contain_text(re.compile(r"\[2024-08-01 00:01, 2024-08-01 00:02\)\s*L\s*lost"))
    expect(page.get_by_text("and 380 more")).to_be_visible()
    for _ in range(2):
        band(page, "FINEUSDT").press("+")
    expect(band(page, "FINEUSDT")).to_have_attribute("aria-valuemax", re.compile("^10[01]$"))


def test_a_hole_is_filled_from_the_page(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), f"/coverage?{VIEW}&prefix=eth")
    band(page, "ETHUSDT").click()
    page.get_by_role("button", name="Load what is missing").click()
    dialog = page.get_by_role("dialog", name="Start 1 workflow?")
    expect(dialog).to_contain_text(f"{TYPE} of ETHUSDT, range [2024-08-01 01:00, 2024-08-01 03:00), 1 hole")
    dialog.get_by_role("button", name="Load", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Started here:").get_by_role("link")).to_have_count(1)
    expect(band(page, "ETHUSDT")).to_have_attribute("aria-valuemax", "1")
    expect(row(page, "ETHUSDT")).to_contain_text("100%")
    assert drawn(page, "ETHUSDT") == [(0, 240, "stored")]
    assert covered.api.get(f"/coverage/ETHUSDT/{TYPE}", params={"time_range": SPAN}).json()["complete"]


def test_what_several_series_lack_is_loaded_at_once(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), f"/coverage?{VIEW}")
    for name in ("SOLUSDT", "BNBUSDT"):
        page.get_by_label(f"Pick {name} {TYPE}").check()
    answers, keys = list[int](), set[tuple[str, str]]()

    def noted(request: Request) -> None:
        if request.url.endswith("/queues/start"):
            keys.add((json.loads(request.post_data or "{}")["symbol"], request.headers["idempotency-key"]))

    page.on("request", noted)
    page.on("response", lambda one: answers.append(one.status) if one.url.endswith("/queues/start") else None)
    page.route("**/queues/start", lambda route: route.abort(), times=1)
    page.get_by_role("button", name="Load what is missing of 2 series").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Start 2 workflows?")
    for name in ("SOLUSDT", "BNBUSDT"):
        expect(dialog).to_contain_text(f"{TYPE} of {name}, range [2024-08-01 00:00, 2024-08-01 04:00), 1 hole")
    load = dialog.get_by_role("button", name="Load", exact=True)
    load.click()
    expect(load).to_be_enabled()
    expect(dialog).to_contain_text("Start 2 workflows?")
    load.click()
    expect(dialog).to_have_count(0)
    assert answers == [202, 202]
    assert {name for name, _ in keys} == {"SOLUSDT", "BNBUSDT"}
    assert len({key for _, key in keys}) == len(keys) == 2, "what is sent again has its key, and each series its own"
    for name in ("SOLUSDT", "BNBUSDT"):
        expect(row(page, name)).to_contain_text("100%")
        expect(band(page, name)).to_have_attribute(
            "aria-valuetext", "1 of 1: stored [2024-08-01 00:00, 2024-08-01 04:00)"
        )


def test_keyboard_alone(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered))
    keys = page.keyboard
    seen(page, "Workflows")
    keys.press("g")
    keys.press("c")
    seen(page, "Coverage")
    expect(band(page, "ALLUSDT")).to_be_visible()
    keys.press("/")
    keys.type("BTC")
    keys.press("Enter")
    expect(band(page, "ALLUSDT")).to_have_count(0)
    keys.press("Escape")
    keys.press("j")
    expect(band(page, "BTCUSDT")).to_be_focused()
    keys.press("ArrowRight")
    expect(band(page, "BTCUSDT")).to_have_attribute(
        "aria-valuetext", "2 of 3: unknown [2024-08-01 01:00, 2024-08-01 03:00)"
    )
    keys.press("Enter")
    expect(page.get_by_role("heading", name="unknown BTCUSDT")).to_be_focused()
    keys.press("Escape")
    expect(band(page, "BTCUSDT")).to_be_focused()
    keys.press("+")
    middle = START_MS + 2 * HOUR_MS
    expect(page).to_have_url(re.compile(f"start={middle - HOUR_MS}&end={middle + HOUR_MS}"))
    keys.press("Shift+ArrowRight")
    expect(page).to_have_url(re.compile(f"start={middle - HOUR_MS // 2}&end={middle + 3 * HOUR_MS // 2}"))
    expect(band(page, "BTCUSDT")).to_have_attribute("aria-valuemax", "2")
    keys.press("Space")
    expect(page.get_by_label(f"Pick BTCUSDT {TYPE}")).to_be_checked()
    page.go_back()
    page.go_back()
    expect(page).to_have_url(re.compile(r"/coverage\?prefix=BTC$"))


def test_the_mouse_moves_and_zooms_and_the_address_follows(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), f"/coverage?{VIEW}&prefix=BTC")
    found = band(page, "BTCUSDT").bounding_box()
    assert found is not None
    y, steps = found["y"] + 9, page.evaluate("history.length")
    page.mouse.move(found["x"] + found["width"] * 0.75, y)
    page.mouse.down()
    page.mouse.move(found["x"] + found["width"] * 0.5, y, steps=8)
    expect(page).not_to_have_url(re.compile(f"start={START_MS}&"))  # where it pauses
    page.mouse.move(found["x"] + found["width"] * 0.25, y, steps=8)
    page.mouse.up()
    start, end = in_view(page)
    assert abs(start - START_MS - 2 * HOUR_MS) < 2 * MINUTE_MS
    assert end - start == 4 * HOUR_MS
    assert page.evaluate("history.length") == steps + 1, "one step back undoes the whole gesture"
    page.go_back()
    expect(page).to_have_url(re.compile(f"start={START_MS}&"))
    page.mouse.move(found["x"] + found["width"] * 0.25, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    expect(page).not_to_have_url(re.compile(f"start={START_MS}&"))
    start, end = in_view(page)
    assert abs((start - START_MS) - (START_MS + 4 * HOUR_MS - end) / 3) < MINUTE_MS, "the place at the pointer stays"
    page.get_by_role("link", name="All of it").click()
    expect(page).to_have_url(re.compile(r"/coverage\?prefix=BTC$"))


@pytest.mark.long
def test_thousands_of_series_are_sorted_filtered_and_paged(covered: rig.Manager, opened: Opened) -> None:
    verdicts = [Verdict.STORED, Verdict.LOST]
    know(
        covered,
        {
            f"Z{number:04d}USDT": known(*(verdicts[(at * number) % 7 == 3] for at in range(24)))
            for number in range(MANY)
        },
    )
    page = opened(url_of(covered), "/coverage?prefix=Z")
    expect(page.get_by_text(f"50 of {MANY:,} series")).to_be_visible()
    expect(page.locator("tr[data-series]").first).to_contain_text("Z0000USDT")
    assert page.evaluate("document.querySelectorAll('*').length") < NODES
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tr[data-series]").first).to_contain_text("Z0050USDT")
    page.get_by_role("button", name="Zoom in").click()
    expect(page).to_have_url(re.compile("start="))
    expect(page.locator("tr[data-series]").first).to_contain_text("Z0050USDT")
    page.get_by_role("link", name="All of it").click()
    page.get_by_role("link", name="Stored", exact=True).click()
    answer = covered.api.get("/coverage", params={"prefix": "Z", "sort": "share", "limit": 1}).json()["series"][0]
    expect(page.locator("tr[data-series]").first).to_contain_text(answer["symbol"])
    expect(page.get_by_role("columnheader", name="Stored")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("link", name="Largest hole").click()
    page.get_by_role("navigation", name="By verdict").get_by_role("link", name="lost").click()
    lost = sum(any((at * number) % 7 == 3 for at in range(24)) for number in range(MANY))
    expect(page.get_by_text(f"50 of {lost:,} series")).to_be_visible()
    assert lost < MANY


def test_the_texts_say_the_same_as_the_picture(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), f"/coverage?{VIEW}&prefix=BTC")
    page.get_by_role("link", name="As text").click()
    expect(row(page, "BTCUSDT")).to_match_aria_snapshot(f"""
        - row:
          - cell:
            - checkbox "Pick BTCUSDT {TYPE}"
          - cell "BTCUSDT {TYPE}"
          - cell:
            - list:
              - listitem:
                - button "stored [2024-08-01 00:00, 2024-08-01 01:00)"
              - listitem:
                - button "unknown [2024-08-01 01:00, 2024-08-01 03:00)"
              - listitem:
                - button "stored [2024-08-01 03:00, 2024-08-01 04:00)"
          - cell "50%"
          - cell:
            - button /2 hrs?/
          - cell "2024-08-01 04:00"
    """)


def test_nothing_stored_and_what_is_refused_say_what_to_do(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), "/nothing")
    replaced(
        page, f"{url_of(covered)}/coverage?*", lambda body: body.update(series=[], total=0, start_ms=None, end_ms=None)
    )
    page.goto(f"{url_of(covered)}/ui/coverage")
    expect(page.get_by_role("heading", name="Nothing is stored yet")).to_be_visible()
    expect(page.get_by_text("streamforge load BTCUSDT api_candles_1m 2024-08-01")).to_be_visible()
    assert violations(page) == []
    page.goto(f"{url_of(covered)}/ui/coverage?prefix=XX")
    expect(page.get_by_role("heading", name="No series fits these filters")).to_be_visible()
    page.unroute_all()
    page.goto(f"{url_of(covered)}/ui/coverage?start=soon")
    expect(page.get_by_role("alert").filter(has_text="start 'soon' is no instant")).to_be_visible()


def test_what_comes_from_elsewhere_is_text(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), "/nothing")
    hostile = {"symbol": HOSTILE, "type": HOSTILE, "runs": [[START_MS, START_MS + HOUR_MS, HOSTILE]]}
    replaced(page, f"{url_of(covered)}/coverage?*", lambda body: body["series"][0].update(hostile))
    page.goto(f"{url_of(covered)}/ui/coverage?{VIEW}")
    expect(page.locator("tr[data-series]").first).to_contain_text(HOSTILE)
    page.locator("[data-row]").first.press("Enter")
    expect(page.locator("section.run h2")).to_contain_text(HOSTILE)
    assert page.locator("img, main script").count() == 0
    assert "owned" not in page.title()


def test_a_reader_sees_why_nothing_can_be_loaded(covered: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(covered), "/nothing")
    replaced(page, "**/access", lambda body: body.update(role="reader"))
    page.goto(f"{url_of(covered)}/ui/coverage?{VIEW}&prefix=ALL")
    band(page, "ALLUSDT").press("Space")
    load = page.get_by_role("button", name="Load what is missing of 1 series")
    expect(load).to_have_attribute("aria-disabled", "true")
    expect(load).to_have_accessible_description("Your token is a reader's. This needs an operator's token.")
    load.click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing_and_every_verdict_can_be_told(
    covered: rig.Manager, opened: Opened, theme: str, language: str
) -> None:
    start = START_MS + 6 * HOUR_MS // 2
    page = opened(
        url_of(covered), f"/coverage?{VIEW}&prefix=A&series=ALLUSDT+{TYPE}&at={start}", theme=theme, language=language
    )
    expect(page.locator("section.run code")).to_have_count(3)
    page.locator("summary").click()
    assert violations(page) == []
    assert [round(one, 1) for one in contrasts(page) if one < 3] == []
    page.locator("section.run .actions button").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.goto(f"{url_of(covered)}/ui/coverage?{VIEW}&view=texts")
    expect(row(page, "BTCUSDT")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(covered: rig.Manager, opened: Opened, width: int) -> None:
    page = opened(url_of(covered), "/nothing", width=width, language="ru")
    for more in ("", f"&series=ALLUSDT+{TYPE}&at={START_MS}", "&view=texts"):
        page.goto(f"{url_of(covered)}/ui/coverage?{VIEW}&sort=-hole{more}")
        expect(row(page, "ALLUSDT")).to_be_visible()
        assert width_of(page) <= width
