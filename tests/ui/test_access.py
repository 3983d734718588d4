"""Who may use the UI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.ui.conftest import Opened
from tests.ui.test_screens import HOUR, TYPE, seen, url_of

READER, OPERATOR = "reader-token-0123456789", "operator-token-0123456789"


@pytest.fixture(scope="module")
def guarded(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with tokens, and no schedule."""
    settings = {"STREAMFORGE_READER_TOKEN": READER, "STREAMFORGE_OPERATOR_TOKEN": OPERATOR}
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("guarded") / "data", exchange.url, **settings) as found:
        found.api.headers["Authorization"] = f"Bearer {OPERATOR}"
        yield found


def kept(page: Page) -> str:
    """All that the page's address and the browser's stores hold, but for this tab's session."""
    return str(page.evaluate("location.href + JSON.stringify(localStorage) + document.cookie"))


def test_a_token_is_asked_for_and_a_wrong_one_refused(guarded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(guarded), "/schedules")
    expect(page.get_by_role("alert").filter(has_text="no bearer token")).to_be_visible()
    for token, told in (("wrong-token-0123456789", "not known"), (OPERATOR, "")):
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Use this token").click()
        if told:
            expect(page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    expect(page.get_by_role("heading", name="There is no schedule")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="There is no schedule")).to_be_visible()
    assert OPERATOR not in kept(page)


def test_the_token_of_a_link_leaves_the_address_and_the_history(guarded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(guarded), f"/workflows?status=error#token={READER}")
    expect(page.get_by_role("heading", name="No workflow fits these filters")).to_be_visible()
    expect(page).to_have_url(f"{url_of(guarded)}/ui/workflows?status=error")
    assert READER not in kept(page)
    assert page.evaluate("history.length") == 2  # the empty page of a new tab, and this one


def test_a_reader_sees_what_an_operator_may_do_and_why_not(guarded: rig.Manager, opened: Opened) -> None:
    found = guarded.loaded("BTCUSDT", TYPE, HOUR)
    page = opened(url_of(guarded), f"/workflows/{found['queue_id']}#token={READER}")
    seen(page, "BTCUSDT")
    button = page.get_by_role("button", name="Start one like this")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description("Your token is a reader's. This needs an operator's token.")
    for name in ("Start one like this", "Forget"):
        page.get_by_role("button", name=name).click(force=True)
        expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(f"{url_of(guarded)}/ui/workflows/{found['queue_id']}")


def test_a_browser_that_keeps_nothing_shows_the_ui_all_the_same(guarded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(guarded))
    denied = "{ get() { throw new DOMException('denied', 'SecurityError'); } }"
    page.add_init_script(
        f"for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, {denied});"
    )
    page.goto(f"{url_of(guarded)}/ui/start?type=api_candles_1m")
    page.reload()
    page.get_by_label("Token").fill(OPERATOR)
    page.get_by_role("button", name="Use this token").click()
    expect(page.get_by_role("heading", name="Start a workflow")).to_be_visible()
