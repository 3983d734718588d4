"""The screens of workflows in a browser, from empty to busy, before a real manager with real workers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.ui.conftest import LOOKS, Opened, replaced, width_of

HOUR = "2024-08-01T00:00Z:2024-08-01T01:00Z"
TYPE = "api_candles_1m"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e"


def url_of(manager: rig.Manager) -> str:
    return str(manager.api.base_url).rstrip("/")


@pytest.fixture(scope="module")
def busy(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with a workflow of BTCUSDT that has finished and one of ETHUSDT that has failed; nobody starts more."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("busy") / "data", exchange.url) as found:
        failed(found, exchange, "ETHUSDT")
        found.loaded("BTCUSDT", TYPE, HOUR)
        yield found


def of_symbol(manager: rig.Manager, symbol: str) -> rig.Json:
    """The one workflow of the symbol."""
    [found] = manager.api.get("/queues", params={"symbol": symbol}).json()["queues"]
    return dict(found)


def seen(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def violations(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is now, also with the size of targets (WCAG 2.5.8)."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
    found = page.evaluate("async (options) => (await axe.run(options)).violations", options)
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def failed(manager: rig.Manager, exchange: rig.Exchange, symbol: str) -> rig.Json:
    """A workflow that the exchange refused for good."""
    exchange.switch_on("451:path=klines")
    found = manager.load(symbol, TYPE, HOUR)
    exchange.lift_faults()
    assert found["status"] == "error"
    return found


def confirmed(page: Page, button: str, names: str) -> None:
    """Click the button and confirm it in a dialog that names the object."""
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(names)
    dialog.get_by_role("button", name=button, exact=True).click()
    expect(dialog).to_have_count(0)


def test_from_empty_to_finished(manager: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(manager))
    seen(page, "Workflows")
    expect(page).to_have_url(re.compile("/ui/workflows$"))
    expect(page.get_by_text("streamforge load BTCUSDT api_candles_1m 2024-08-01")).to_be_visible()
    found = manager.loaded("BTCUSDT", TYPE, HOUR)
    row = page.get_by_role("row").filter(has_text=found["queue_id"])
    expect(row).to_contain_text("finished")
    expect(row).to_match_aria_snapshot(f"""
        - row:
          - cell "Choose BTCUSDT {TYPE}"
          - cell "finished"
          - cell:
            - link "BTCUSDT {TYPE}"
            - text: {found["queue_id"]}
          - cell "[2024-08-01 00:00, 2024-08-01 01:00)"
          - cell:
            - progressbar "BTCUSDT {TYPE}"
            - text: 100% 60 of 60 records
          - cell "–"
          - cell "–"
          - cell:
            - time: /\\d{{4}}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d/
    """)
    row.get_by_role("link").click()
    seen(page, "BTCUSDT")
    expect(page).to_have_url(f"{url_of(manager)}/ui/workflows/{found['queue_id']}")
    expect(page.get_by_role("table", name="Plan")).to_match_aria_snapshot("""
        - table "Plan":
          - rowgroup:
            - row "Range Source Reason"
          - rowgroup:
            - row /\\[2024-08-01 00:00, 2024-08-01 01:00\\) requests .+/
    """)
    expect(page.get_by_role("table", name="Events")).to_contain_text("finished")
    expect(page.get_by_role("table", name="Coverage")).to_contain_text("stored")
    attempts = page.get_by_role("table", name="Attempts")
    expect(attempts.get_by_role("row")).to_have_count(3)
    page.go_back()
    seen(page, "Workflows")


def test_a_running_workflow_is_stopped_and_retried(
    manager: rig.Manager, exchange: rig.Exchange, opened: Opened
) -> None:
    exchange.switch_on(rig.HELD)
    found = manager.half_loaded("ETHUSDT", "2024-08")
    page = opened(url_of(manager), f"/workflows/{found}")
    seen(page, "ETHUSDT")
    page.get_by_role("button", name="Ping").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"Answers: .*loader-api-candles\S*: \d+ ms"))
    confirmed(page, "Stop", found)
    expect(page.get_by_role("button", name="Stop")).to_have_attribute("aria-disabled", "true")
    expect(page.locator(".title")).to_contain_text("interrupted")
    exchange.lift_faults()
    confirmed(page, "Retry", found)
    expect(page.locator(".title")).to_contain_text("finished")


def test_a_failure_says_why_and_what_to_do(busy: rig.Manager, opened: Opened) -> None:
    found = of_symbol(busy, "ETHUSDT")
    page = opened(url_of(busy), "/workflows?status=error")
    expect(page.get_by_role("row").nth(1)).to_contain_text(found["failure"]["next_step"])
    page.get_by_role("row").nth(1).get_by_role("link").click()
    expect(page.locator(".failed").first).to_contain_text(found["failure"]["reason"])
    expect(page.locator(".failed").first).to_contain_text(found["failure"]["next_step"])


def test_the_address_holds_the_filters(busy: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(busy), "/workflows?search=eth")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("searchbox")).to_have_value("eth")
    page.get_by_role("link", name=re.compile("^finished")).click()
    expect(page).to_have_url(re.compile(r"search=eth&status=finished$"))
    expect(page.get_by_role("heading", name="No workflow fits these filters")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="No workflow fits these filters")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="Remove all filters").click()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page).to_have_url(re.compile("/ui/workflows$"))


def test_counts_of_the_server_stand_beside_each_status(busy: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(busy), "/workflows?search=ETH%20")
    expect(page.get_by_role("row")).to_have_count(2)
    for name in ("finished 0", "error 1", "running 0"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    page.goto(f"{url_of(busy)}/ui/workflows")
    for name in ("finished 1", "error 1", "running 0"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


def test_keyboard_alone(busy: rig.Manager, opened: Opened) -> None:
    found = of_symbol(busy, "BTCUSDT")
    page = opened(url_of(busy))
    expect(page.get_by_role("row")).to_have_count(3)
    keys = page.keyboard
    keys.press("j")
    keys.press("j")
    expect(page.locator("[data-row]").nth(1)).to_be_focused()
    keys.press("k")
    expect(page.locator("[data-row]").nth(0)).to_be_focused()
    keys.press("/")
    keys.type("btcusdt?")  # in a field it is a letter
    keys.press("Backspace")
    keys.press("Enter")
    expect(page.get_by_role("row")).to_have_count(2)
    keys.press("Escape")
    keys.press("j")
    keys.press("Enter")
    seen(page, "BTCUSDT")
    assert found["queue_id"] in page.url
    page.get_by_role("button", name="Forget").focus()
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    keys.press("?")
    page.get_by_label("Single keys do something").focus()
    keys.press("Space")
    keys.press("Escape")
    keys.press("g")
    keys.press("w")
    assert found["queue_id"] in page.url
    page.evaluate("localStorage.clear()")
    page.reload()
    seen(page, "BTCUSDT")
    keys.press("g")
    keys.press("w")
    seen(page, "Workflows")


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing(busy: rig.Manager, opened: Opened, theme: str, language: str) -> None:
    page = opened(url_of(busy), theme=theme, language=language)
    expect(page.get_by_role("row")).to_have_count(3)
    assert violations(page) == []
    page.goto(f"{url_of(busy)}/ui/workflows?search=nothing")
    expect(page.locator(".empty")).to_be_visible()
    assert violations(page) == []
    for symbol in ("ETHUSDT", "BTCUSDT"):
        page.goto(f"{url_of(busy)}/ui/workflows/{of_symbol(busy, symbol)['queue_id']}")
        seen(page, symbol)
        expect(page.locator(".actions")).to_be_visible()
        assert violations(page) == []
    page.get_by_role("button", name={"en": "Forget", "ru": "Забыть"}[language]).click()
    assert violations(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(busy: rig.Manager, opened: Opened, width: int) -> None:
    found = of_symbol(busy, "BTCUSDT")
    page = opened(url_of(busy), width=width, language="ru")
    for path in ("/workflows", f"/workflows/{found['queue_id']}"):
        page.goto(f"{url_of(busy)}/ui{path}")
        expect(page.get_by_role("table").first).to_be_visible()
        assert width_of(page) <= width


def test_what_comes_from_elsewhere_is_text(busy: rig.Manager, opened: Opened) -> None:
    found = of_symbol(busy, "BTCUSDT")

    def listed(body: rig.Json) -> None:
        body["queues"][0].update(symbol=HOSTILE, type=HOSTILE, undriven=HOSTILE)

    def shown(body: rig.Json) -> None:
        failure = {"reason": HOSTILE, "next_step": HOSTILE}
        body.update(symbol=HOSTILE, topic=HOSTILE, failure=failure, remarks=[HOSTILE], batch=HOSTILE)
        body["steps"][0]["attempts"][0].update(error=HOSTILE, status="error")

    page = opened(url_of(busy), "/nothing")
    replaced(page, "**/queues?*", listed)
    replaced(page, f"**/queues/{found['queue_id']}", shown)
    page.goto(f"{url_of(busy)}/ui/workflows")
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    page.goto(f"{url_of(busy)}/ui/workflows/{found['queue_id']}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
    expect(page.locator(".failed").first).to_contain_text(HOSTILE)
    assert page.locator("img, main script").count() == 0
    assert "owned" not in (page.title().removeprefix(found["queue_id"]))


def test_times_are_utc_until_local_time_is_chosen(busy: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(busy), "/workflows?search=btc")
    expect(page.get_by_text("[2024-08-01 00:00, 2024-08-01 01:00)")).to_be_visible()
    page.get_by_label("Time zone").select_option("local")
    expect(page.get_by_text("[2024-08-01 05:30, 2024-08-01 06:30)")).to_be_visible()
    page.reload()
    expect(page.get_by_text("[2024-08-01 05:30, 2024-08-01 06:30)")).to_be_visible()
    page.get_by_label("Language").select_option("ru")
    expect(page.get_by_role("heading", name="Рабочие процессы")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "ru"
