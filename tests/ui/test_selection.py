"""What is done with many workflows at once, with batches, labels, and what is forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.ui.conftest import Opened
from tests.ui.test_screens import HOUR, TYPE, confirmed, of_symbol, seen, url_of, violations

HELD = "slow:ms=50000,path=klines"
"""No candles come for as long as a test takes."""


@pytest.fixture(scope="module")
def batched(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[rig.Manager, str]]:
    """A manager with a batch of two symbols, of which one has failed, and one that is not of it."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("batched") / "data", exchange.url) as found:
        exchange.switch_on("451:path=klines,symbol=ETHUSDT")
        body = {"symbols": ["BTCUSDT", "ETHUSDT"], "type": TYPE, "time_range": HOUR, "labels": {"team": "research"}}
        batch = found.api.post("/batches", json=body).raise_for_status().json()["batch_id"]

        def ended() -> bool | None:
            status = found.api.get(f"/batches/{batch}").json()["status"]
            return None if status == "running" else True

        rig.eventually(ended, "the batch has ended")
        exchange.lift_faults()
        found.loaded("SOLUSDT", TYPE, HOUR)
        yield found, batch


def rows(page: Page, count: int) -> None:
    """The list has so many workflows."""
    expect(page.get_by_role("table", name="Workflows").get_by_role("row")).to_have_count(count + 1)


def test_many_are_stopped_retried_and_forgotten_by_keyboard(
    manager: rig.Manager, exchange: rig.Exchange, opened: Opened
) -> None:
    exchange.switch_on(HELD)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        manager.wait(manager.start_load(symbol, TYPE, HOUR)["queue_id"], ["running"])
    page = opened(url_of(manager))
    rows(page, 2)
    for key in "jxjx":
        page.keyboard.press(key)
    chosen = page.get_by_role("group", name="Chosen workflows")
    expect(chosen).to_contain_text("2 workflows chosen")
    expect(chosen.get_by_role("button", name="Forget (0)")).to_have_accessible_description("None of them has ended.")
    done(page, "Stop (2)", "Stop 2 workflows?", "Stop")
    expect(page.locator(".said")).to_contain_text("2 workflows were asked to stop.")
    expect(page.get_by_role("link", name="interrupted 2", exact=True)).to_be_visible()
    expect(chosen).to_have_count(0)
    exchange.lift_faults()
    page.get_by_label("All on this page").check()
    done(page, "Retry (2)", "Retry 2 workflows?", "Retry")
    expect(page.get_by_role("link", name="finished 2", exact=True)).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("x")
    done(page, "Forget (1)", "Forget 1 workflow?", "Forget")
    rows(page, 1)
    assert len(manager.api.get("/queues").json()["queues"]) == 1


def done(page: Page, button: str, title: str, action: str) -> None:
    """Click the button, and confirm it in the dialog with this title, by keyboard."""
    page.get_by_role("button", name=button, exact=True).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog).to_contain_text("USDT")
    dialog.get_by_role("button", name=action, exact=True).focus()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)


@pytest.mark.long
def test_what_is_refused_is_told_for_each(batched: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, _ = batched
    found = of_symbol(manager, "SOLUSDT")["queue_id"]
    page = opened(url_of(manager), "/workflows?search=sol")
    rows(page, 1)
    problem = {"code": "not-now", "detail": "it is held", "next_step": "try later", "status": 409}
    page.route(f"**/queues/{found}", lambda route: route.fulfill(status=409, json=problem))
    page.get_by_label("Choose SOLUSDT").check()
    done(page, "Forget (1)", "Forget 1 workflow?", "Forget")
    expect(page.get_by_role("alert")).to_contain_text(f"{found}: This is not possible now. it is held — try later")
    rows(page, 1)


def test_a_batch_has_its_members_progress_and_retry(
    batched: tuple[rig.Manager, str], exchange: rig.Exchange, opened: Opened
) -> None:
    manager, batch = batched
    page = opened(url_of(manager), f"/workflows/{of_symbol(manager, 'ETHUSDT')['queue_id']}")
    page.get_by_role("link", name=batch).click()
    rows(page, 2)
    panel = page.get_by_role("region", name=f"Batch {batch}")
    expect(panel).to_contain_text("2 symbols · finished 1 · error 1")
    panel.get_by_text("1 member failed or was interrupted").click()
    expect(panel.get_by_role("listitem").get_by_role("link", name="ETHUSDT")).to_be_visible()
    assert violations(page) == []
    stop = panel.get_by_role("button", name="Stop the batch")
    expect(stop).to_have_accessible_description("It has ended.")
    confirmed(page, "Retry the batch", batch)
    expect(panel).to_contain_text("2 symbols · finished 2")
    expect(page.get_by_role("link", name="finished 2", exact=True)).to_be_visible()


def test_labels_are_filters_and_the_column_is_in_the_address(batched: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, _ = batched
    page = opened(url_of(manager))
    rows(page, 3)
    page.get_by_role("row").filter(has_text="BTCUSDT").get_by_role("link", name="team:research").click()
    rows(page, 2)
    expect(page).to_have_url(re.compile(r"\?label=team%3Aresearch$"))
    page.get_by_role("link", name="Remove the filter team:research").click()
    rows(page, 3)
    page.get_by_label("Label").fill("team:none")
    page.get_by_label("Label").press("Enter")
    expect(page.get_by_role("heading", name="No workflow fits these filters")).to_be_visible()
    page.goto(f"{url_of(manager)}/ui/workflows")
    page.get_by_role("link", name="Show durations").click()
    expect(page.get_by_role("columnheader", name="Duration")).to_be_visible()
    expect(page.get_by_role("row").nth(1).get_by_role("cell").last).to_have_text(re.compile(r"^\d+ sec$"))
    page.reload()
    expect(page.get_by_role("columnheader", name="Duration")).to_be_visible()


def test_data_go_only_when_the_name_is_written(manager: rig.Manager, opened: Opened) -> None:
    found = manager.loaded("BTCUSDT", TYPE, HOUR)
    page = opened(url_of(manager), f"/workflows/{found['queue_id']}")
    seen(page, "BTCUSDT")
    page.get_by_role("button", name="Forget", exact=True).click()
    dialog = page.get_by_role("dialog", name="Forget this workflow?")
    confirm = dialog.get_by_role("button", name="Forget", exact=True)
    expect(confirm).to_be_enabled()
    dialog.get_by_label("Delete its records and their coverage too").check()
    expect(confirm).to_be_disabled()
    dialog.get_by_role("textbox").fill("BTCUSDT")
    expect(confirm).to_be_disabled()
    assert violations(page) == []
    dialog.get_by_role("textbox").fill(found["queue_id"])
    confirm.click()
    expect(page.locator(".said")).to_contain_text(f"{found['queue_id']} was forgotten, 60 records deleted.")
    expect(page.get_by_role("heading", name="No workflow has been started")).to_be_visible()
    assert manager.api.get(f"/queues/{found['queue_id']}").status_code == 404
