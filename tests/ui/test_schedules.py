"""The screens of schedules, before a real manager that fires them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.ui.conftest import Opened, replaced, width_of
from tests.ui.test_access import OPERATOR, READER
from tests.ui.test_screens import HOSTILE, confirmed, seen, url_of, violations
from tests.ui.test_start import looks

TYPE = "api_candles_1h"
ADDED = {"symbols": ["ETHUSDT"], "type": TYPE, "cron": "5 0 * * *", "time_range": "yesterday"}


@pytest.fixture(scope="module")
def clock(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with tokens, and no schedule."""
    settings = {"STREAMFORGE_READER_TOKEN": READER, "STREAMFORGE_OPERATOR_TOKEN": OPERATOR}
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("clock") / "data", exchange.url, **settings) as found:
        found.api.headers["Authorization"] = f"Bearer {OPERATOR}"
        yield found


@pytest.fixture
def nightly(clock: rig.Manager) -> Iterator[rig.Manager]:
    """The manager with a schedule that does not fire during a test."""
    clock.api.post("/schedules", json={"name": "nightly", **ADDED}).raise_for_status()
    yield clock
    clock.api.delete("/schedules/nightly")


def show(opened: Opened, manager: rig.Manager, path: str = "/schedules", token: str = OPERATOR) -> Page:
    return opened(url_of(manager), f"{path}#token={token}")


def test_a_schedule_from_its_form_to_its_end(clock: rig.Manager, opened: Opened) -> None:
    page = show(opened, clock)
    expect(page.get_by_text("streamforge schedule add nightly BTCUSDT,ETHUSDT api_candles_1m")).to_be_visible()
    page.get_by_role("link", name="Add a schedule").click()
    seen(page, "Add a schedule")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.get_by_label("what is new").check()
    expect(page.get_by_label("First from")).to_have_accessible_description(re.compile("begins at the first hole"))
    page.get_by_label("Name", exact=True).fill("-daily")
    page.get_by_label("Cron expression").fill("61 0 * * *")
    page.get_by_label("Symbols", exact=True).fill("btcusdt solusdt")
    page.get_by_label("Type", exact=True).fill(TYPE)
    page.get_by_label("a time range").check()
    page.get_by_label("Time range", exact=True).fill("yesterday")
    page.get_by_label("Labels").fill("team:night")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    expect(page.get_by_label("Name", exact=True)).to_have_accessible_description(re.compile("name '-daily' must begin"))
    expect(page.get_by_label("Cron expression")).to_have_accessible_description(re.compile("61"))
    page.get_by_label("Name", exact=True).fill("daily")
    page.get_by_label("Cron expression").fill("5 0 * * *")
    expect(page).to_have_url(re.compile(r"form=add&name=daily&cron=5\+0"))
    page.reload()
    expect(page.get_by_label("Cron expression")).to_have_value("5 0 * * *")
    page.get_by_role("button", name="Show the plan").click()
    plan = page.get_by_role("region", name="What a run would load now")
    expect(plan.get_by_role("table", name="Symbols").get_by_role("row")).to_have_count(3)
    page.get_by_label("Labels").fill("team:day")
    expect(plan.get_by_role("button", name="Add the schedule")).to_have_attribute("aria-disabled", "true")
    page.get_by_label("Labels").fill("team:night")
    assert clock.api.get("/schedules").json()["schedules"] == []
    plan.get_by_role("button", name="Add the schedule").click()
    seen(page, "daily")
    added = clock.api.get("/schedules/daily").raise_for_status().json()
    wanted = {"symbols": ["BTCUSDT", "SOLUSDT"], "cron": "5 0 * * *", "time_range": "yesterday", "missed": "catch-up"}
    assert {name: added[name] for name in (*wanted, "labels")} == {**wanted, "labels": {"team": "night"}}
    confirmed(page, "Run now", "daily")
    run = page.get_by_role("table", name="Runs").get_by_role("row").nth(1)
    expect(run).to_contain_text("asked for by a person")
    expect(run.get_by_role("cell", name="finished", exact=True)).to_be_visible()
    run.get_by_role("link", name="SOLUSDT").click()
    seen(page, "SOLUSDT")
    expect(page.locator(".title")).to_contain_text("finished")
    page.go_back()
    confirmed(page, "Pause", "daily")
    confirmed(page, "Resume", "daily")
    confirmed(page, "Pause", "daily")
    expect(page.locator(".title")).to_contain_text("paused")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_label("Symbols", exact=True)).to_have_value("BTCUSDT, SOLUSDT")
    expect(page.get_by_label("a time range")).to_be_checked()
    expect(page.get_by_label("Time range", exact=True)).to_have_value("yesterday")
    page.get_by_label("Cron expression").fill("0 */4 * * *")
    page.get_by_label("Labels").fill("")
    page.get_by_label("what is new").check()
    page.get_by_label("First from").fill("2024")
    page.get_by_role("button", name="Save the changes").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    changed = clock.api.get("/schedules/daily").raise_for_status().json()
    names = ("cron", "labels", "since", "start", "time_range", "paused")
    assert [changed[name] for name in names] == ["0 */4 * * *", {}, "last", "2024", None, True]
    confirmed(page, "Delete", "daily")
    expect(page.get_by_role("heading", name="There is no schedule")).to_be_visible()
    assert clock.api.get("/schedules").json()["schedules"] == []


def test_a_schedule_can_be_added_where_the_exchange_cannot_be_asked(clock: rig.Manager, opened: Opened) -> None:
    page = show(
        opened, clock, "/schedules?form=add&name=blind&cron=5+0+*+*+*&symbols=BTCUSDT&type=api_candles_1h&from=2024"
    )
    silent = {"code": "unavailable", "detail": "it is silent", "next_step": "wait", "status": 503, "errors": []}
    page.route("**/plans", lambda route: route.fulfill(status=503, json=silent))
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("alert").filter(has_text="it is silent")).to_be_visible()
    page.get_by_role("button", name="Add the schedule").click()
    seen(page, "blind")
    clock.api.delete("/schedules/blind").raise_for_status()


def test_the_list_tells_the_next_run_in_the_chosen_zone(nightly: rig.Manager, opened: Opened) -> None:
    page = show(opened, nightly)
    row = page.get_by_role("row").filter(has_text="nightly")
    expect(row).to_contain_text("ETHUSDT")
    expect(row.locator("time")).to_have_text(re.compile(r"\d{4}-\d\d-\d\d 00:05:00"))
    page.get_by_label("Time zone").select_option("local")
    expect(row.locator("time")).to_have_text(re.compile(r"\d{4}-\d\d-\d\d 05:35:00"))
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    seen(page, "nightly")
    page.keyboard.press("g")
    page.keyboard.press("e")
    seen(page, "Schedules")


def test_a_reader_sees_what_an_operator_may_do(nightly: rig.Manager, opened: Opened) -> None:
    page = show(opened, nightly, "/schedules/nightly", READER)
    for name in ("Run now", "Pause", "Change", "Delete"):
        button = page.get_by_role("button", name=name, exact=True)
        expect(button).to_have_attribute("aria-disabled", "true")
        button.click(force=True)
        expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(f"{url_of(nightly)}/ui/schedules/nightly")


def test_what_comes_from_elsewhere_is_text(nightly: rig.Manager, opened: Opened) -> None:
    run = {
        "number": 1, "state": "error", "times": 1, "at_least": False, "by_hand": False, "late": HOSTILE,
        "fire_at": "2024-08-01T00:05:00Z", "first_at": "2024-08-01T00:05:00Z",
        "begun_at": "2024-08-01T00:05:00Z", "ended_at": None,
        "time_range": HOSTILE, "reason": HOSTILE, "left_out": 1,
        "loads": [{"symbol": HOSTILE, "queue_id": None, "status": HOSTILE, "reason": HOSTILE, "joined": True}],
    }  # fmt: skip

    def listed(body: rig.Json) -> None:
        body["unreadable"] = {HOSTILE: HOSTILE}
        body["schedules"][0].update(name=HOSTILE, symbols=[HOSTILE], overdue=HOSTILE, latest=run)

    page = show(opened, nightly, "/nothing")
    replaced(page, f"{url_of(nightly)}/schedules", listed)
    replaced(page, "**/schedules/nightly/runs?*", lambda body: body.update(runs=[run]))
    page.goto(f"{url_of(nightly)}/ui/schedules")
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    expect(page.locator(".failed")).to_contain_text(HOSTILE)
    page.goto(f"{url_of(nightly)}/ui/schedules/nightly")
    expect(page.get_by_role("table", name="Runs")).to_contain_text(HOSTILE)
    assert page.locator("img, main script").count() == 0


def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(nightly: rig.Manager, opened: Opened) -> None:
    page = show(opened, nightly)
    for path, there in (("", "table"), ("/nightly", ".facts"), ("?form=add", "form")):
        page.goto(f"{url_of(nightly)}/ui/schedules{path}")
        expect(page.locator(there).first).to_be_visible()
        assert [violations(page) for _ in looks(page)] == 4 * [[]]
        page.set_viewport_size({"width": 390, "height": 800})
        assert width_of(page) <= 390
        page.set_viewport_size({"width": 1280, "height": 800})
