"""StreamForge used as a person would, from the form to the shared link, and never from a terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.ui.conftest import Opened
from tests.ui.series_page import BAD, COUNT, FIRST, GOOD, HOLE, LAST, LINK, UNKNOWN, drawn, pixels
from tests.ui.test_letters import mend, refused, replay
from tests.ui.test_screens import TYPE, seen, url_of

SYMBOLS = ["BNBUSDT", "BTCUSDT", "ETHUSDT", "NEWUSDT", "SOLUSDT"]
ALL = ("2024-08-01T00:00Z", "2024-08-11T00:00Z")
INSIDE = ("2024-08-01T01:02Z", "2024-08-01T01:58Z")
SLOW = "slow:ms=2000,path=klines,symbol=ETHUSDT"
"""Its ten days take so long that its loader is still at work when it is killed."""

PICTURES = os.environ.get("STREAMFORGE_PICTURES")


def picture(page: Page, step: str) -> None:
    """Where that names a folder, take pictures of the step into it: in both themes, as wide as a desk and a phone."""
    for theme in ("dark", "light") if PICTURES else ():
        for width in (390, 1280):
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.set_viewport_size({"width": width, "height": 800})
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            expect(page.get_by_text("Loading finer bars")).to_have_count(0)
            target = Path(PICTURES or "") / f"{step}-{theme}-{width}.png"
            page.screenshot(path=target, full_page=True, animations="disabled")


def test_a_hole_is_repaired_a_letter_replayed_and_a_picture_shared(
    manager: rig.Manager, exchange: rig.Exchange, opened: Opened
) -> None:
    for time_range in (FIRST, LAST):
        manager.loaded("ETHUSDT", TYPE, time_range)
    letters = refused(manager, "orders", [b"no JSON"])
    mend(manager, letters, "orders", 1000)
    page = opened(url_of(manager))
    menu = page.get_by_role("navigation", name="Screens")

    # The hole
    menu.get_by_role("link", name="Series").click()
    page.get_by_role("row").filter(has_text="ETHUSDT").get_by_role("link").click()
    drawn(page)
    expect(page.get_by_role("button", name=f"unknown {HOLE}")).to_be_visible()
    good, bad, unknown = pixels(page, *INSIDE, GOOD, BAD, UNKNOWN)
    assert (good, bad) == (0, 0)
    assert unknown > 100
    picture(page, "1-hole")

    # A batch of five by the form
    menu.get_by_role("link", name="Start").click()
    page.get_by_label("Symbols", exact=True).fill(" ".join(SYMBOLS))
    page.get_by_label("Type", exact=True).fill(TYPE)
    page.get_by_label("Time range", exact=True).fill("2024-08-01:2024-08-11")
    page.get_by_role("button", name="Show the plan").click()
    start = page.get_by_role("button", name="Start the batch of 5 symbols")
    expect(start).to_be_visible()
    picture(page, "2-plan")
    exchange.switch_on(SLOW)
    start.click()

    # It is watched
    panel = page.get_by_role("region", name=re.compile("^Batch "))
    expect(panel).to_contain_text("5 symbols · ")
    picture(page, "3-batch")
    page.get_by_role("row").filter(has_text="ETHUSDT").get_by_role("link").first.click()
    seen(page, "ETHUSDT")
    expect(page.locator(".title")).to_contain_text("running")
    queue_id = page.url.rpartition("/")[2]

    # A worker is killed, and why is read
    manager.until(queue_id, "some is stored", lambda found: bool(rig.step(found, rig.SINK)["records"]))
    manager.kill_worker(queue_id, rig.LOADER)
    exchange.lift_faults()
    attempts = page.get_by_role("table", name="Attempts").get_by_role("row")
    expect(attempts.filter(has_text=f"{rig.LOADER} attempt 1")).to_contain_text("signal 9")
    expect(attempts.filter(has_text=f"{rig.LOADER} attempt 2")).to_contain_text("finished")
    expect(page.locator(".title")).to_contain_text("finished")
    picture(page, "4-killed")
    page.go_back()
    expect(panel).to_contain_text("5 symbols · finished 5")
    page.go_forward()

    # The hole is repaired
    page.get_by_role("link", name="show what is stored of this range").click()
    expect(page.get_by_text("There is no hole in view.")).to_be_visible()
    drawn(page)
    good, bad, unknown = pixels(page, *ALL, GOOD, BAD, UNKNOWN)
    assert good + bad > 100
    assert unknown == 0
    picture(page, "5-repaired")

    # A dead letter is replayed
    menu.get_by_role("link", name="Dead letters").click()
    page.get_by_role("row").filter(has_text=letters).get_by_role("link").first.click()
    page.get_by_role("checkbox", name="Choose orders:0:1000").click()
    replay(page, "Replay 1 chosen", "Replay 1 dead letter?", letters)
    expect(page.get_by_text("Replayed: 1 stored, 0 came back.")).to_be_visible()
    picture(page, "6-replayed")

    # Two series are compared
    menu.get_by_role("link", name="Series").click()
    page.get_by_role("row").filter(has_text="BTCUSDT").get_by_role("link").click()
    drawn(page)
    page.get_by_label("Symbol").fill("ETHUSDT")
    page.get_by_role("button", name="Show beside it").click()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_function(f"() => ({COUNT})([0, 1, [{list(LINK)}]])[0] > 50")
    picture(page, "7-compared")

    # The link is shared
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    other = opened(url_of(manager), link.removeprefix(f"{url_of(manager)}/ui"))
    drawn(other)
    other.wait_for_function(f"() => ({COUNT})([0, 1, [{list(LINK)}]])[0] > 50")
    expect(other.get_by_role("button", name=f"Remove ETHUSDT {TYPE}")).to_be_visible()
    for name in ("From", "To"):
        shown = page.get_by_label(name, exact=True).input_value()
        assert shown.startswith("2024-08-")
        expect(other.get_by_label(name, exact=True)).to_have_value(shown)
