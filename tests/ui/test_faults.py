"""What the screens do where the server asks to wait, where it knows the token no more, where the clock is wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.e2e import rig
from tests.engines.process import free_ports
from tests.ui.conftest import Opened, halted, replaced
from tests.ui.test_access import OPERATOR, kept
from tests.ui.test_screens import HOUR, TYPE, of_symbol, seen, url_of

NEW_OPERATOR = "new-operator-token-0123456789"
REFUSED = {
    "status": 401,
    "code": "unauthorized",
    "detail": "the bearer token is not known",
    "next_step": "send another",
}
SERIES = f"/series/BTCUSDT/{TYPE}"
BUSY = {"status": 503, "code": "busy", "detail": "it is busy", "next_step": "wait"}


@pytest.mark.long
@pytest.mark.parametrize("days", [-5000, 5000])
def test_where_the_clock_is_wrong_instants_are_the_servers(calm: rig.Manager, opened: Opened, days: int) -> None:
    def running(body: rig.Json) -> None:
        body["queues"][0].update(status="running", ended_at=None)

    page = opened(url_of(calm), "/nothing")
    page.clock.install(time=datetime.now(UTC) + timedelta(days=days))
    page.goto(f"{url_of(calm)}/ui/start?symbols=BTCUSDT&type={TYPE}&time_range=-2h:")
    two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
    expect(page.locator("#field-range-span")).to_contain_text(f"[{two_hours_ago.date()}")
    replaced(page, "**/queues?*", running)
    page.goto(f"{url_of(calm)}/ui/workflows?column=duration")
    row = page.get_by_role("row").nth(1)
    expect(row.get_by_role("cell").last).to_have_text(re.compile(r"^(\d+ mins? ?)?(\d+ secs?)?$"))
    page.clock.run_for(12_000)
    stalled = row.get_by_text("stalled since")
    since = datetime.fromisoformat(stalled.inner_text().removeprefix("stalled since ") + "+00:00")
    created = datetime.fromisoformat(of_symbol(calm, "BTCUSDT")["created_at"])
    assert timedelta(0) <= since - created < timedelta(hours=1)


@pytest.mark.parametrize(("path", "asks"), [("/workflows", "/queues"), (SERIES, "/series"), (SERIES, "/bars")])
def test_the_client_waits_as_long_as_it_is_told_and_goes_on_by_itself(
    calm: rig.Manager, opened: Opened, path: str, asks: str
) -> None:
    page = opened(url_of(calm), "/nothing")
    asked = list[str]()

    def busy(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) > 1:
            route.fallback()
        else:
            route.fulfill(status=503, headers={"Retry-After": "600"}, json=BUSY)

    page.clock.install()
    page.route(re.compile(rf"{asks}\?"), busy)
    page.goto(f"{url_of(calm)}/ui{path}")
    told = page.get_by_role("alert").filter(has_text="it is busy")
    expect(told).to_be_visible()
    halted(page)
    expect(page.get_by_text(re.compile(r"Next try in (10 mins?|9 mins?( \d+ secs?)?)\."))).to_be_visible()
    page.clock.run_for(500_000)  # among others the feed has ended meanwhile, and begun again
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("fetch('/healthz')")  # behind what that would ask
    assert len(asked) == 1
    page.clock.run_for(101_000)
    page.clock.resume()
    expect(told).to_have_count(0)
    expect(page.get_by_role("table").first).to_be_visible()
    assert len(asked) > 1


def test_a_token_that_is_known_no_more_is_asked_for_again(
    exchange: rig.Exchange, tmp_path: Path, opened: Opened
) -> None:
    data, port = tmp_path / "data", str(free_ports(1)[0])
    held = list[Route]()
    exchange.reset()
    with rig.manager(data, exchange.url, STREAMFORGE_PORT=port, STREAMFORGE_OPERATOR_TOKEN=OPERATOR) as first:
        first.api.headers["Authorization"] = f"Bearer {OPERATOR}"
        found = first.loaded("BTCUSDT", TYPE, HOUR)["queue_id"]
        page = opened(url_of(first), f"/workflows/{found}?events=all#token={OPERATOR}")
        seen(page, "BTCUSDT")
        page.route(
            f"**/queues/{found}", lambda one: held.append(one) if one.request.method == "DELETE" else one.fallback()
        )
        page.get_by_role("button", name="Forget").click()
        page.get_by_role("dialog").get_by_role("button", name="Forget").click()
        first.stop()
        with rig.manager(data, exchange.url, STREAMFORGE_PORT=port, STREAMFORGE_OPERATOR_TOKEN=NEW_OPERATOR) as second:
            second.api.headers["Authorization"] = f"Bearer {NEW_OPERATOR}"
            expect(page.get_by_role("alert").filter(has_text="the bearer token is not known")).to_be_visible()
            expect(page.get_by_label("Token")).to_be_focused()
            expect(page.get_by_role("heading", name="BTCUSDT")).to_have_count(0)
            expect(page.get_by_role("dialog")).to_have_count(0)
            page.keyboard.type(NEW_OPERATOR)
            page.keyboard.press("Enter")
            seen(page, "BTCUSDT")
            expect(page).to_have_url(f"{url_of(second)}/ui/workflows/{found}?events=all")
            assert NEW_OPERATOR not in kept(page)
            # A late answer says nothing of the new token.
            with page.expect_response(f"**/queues/{found}"):
                held[0].fulfill(status=401, json=REFUSED)
            page.evaluate("new Promise(done => setTimeout(done))")
            expect(page.get_by_label("Token")).to_have_count(0)
            seen(page, "BTCUSDT")
