"""What is seldom on the screen, and what stands in the place of a screen: axe finds nothing wrong with any of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e import rig
from tests.ui.conftest import Opened, holds, width_of
from tests.ui.test_access import OPERATOR
from tests.ui.test_screens import HOUR, TYPE, seen, url_of, violations

LOOKS = (("light", "ru"), ("dark", "en"))
BUSY = {"status": 503, "code": "busy", "detail": "it is busy", "next_step": "wait"}
API = re.compile(r"^/(queues|series|coverage|openapi|targets|schedules|dead-letters|topics|health)\b(?!z)")
NONE = "wf-none-json-20240801-abc123"
LISTS = ("workflows", "series", "coverage", "start", "schedules", "dead-letters", "topics", "settings")
MISSING = (f"workflows/{NONE}", f"series/NONE/{TYPE}", "schedules/none", f"dead-letters/{NONE}", "topics/none")


@pytest.fixture(scope="module")
def guarded(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with a token, a workflow that has finished, and a schedule."""
    exchange.reset()
    settings = {"STREAMFORGE_OPERATOR_TOKEN": OPERATOR}
    with rig.manager(tmp_path_factory.mktemp("guarded") / "data", exchange.url, **settings) as found:
        found.api.headers["Authorization"] = f"Bearer {OPERATOR}"
        found.loaded("BTCUSDT", TYPE, HOUR)
        body = {"name": "nightly", "symbols": ["BTCUSDT"], "type": TYPE, "cron": "5 0 * * *", "time_range": "yesterday"}
        found.api.post("/schedules", json=body).raise_for_status()
        yield found


def look(page: Page, theme: str, language: str) -> None:
    """Let the page be in the theme and the language, also below a dialog, or on a phone, where no choice is."""
    for at, value in ((1, theme), (2, language)):
        page.locator(".settings select").nth(at).select_option(value, force=True)
    expect(page.locator("html")).to_have_attribute("lang", language)


def well(page: Page) -> None:
    """Nothing is wrong with it, in either theme and in either language, also on a phone."""
    for theme, language in LOOKS:
        look(page, theme, language)
        assert violations(page) == []
        assert width_of(page) <= 390


def test_frame_and_forms(guarded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(guarded), width=390)
    expect(page.get_by_role("heading", name="A token is needed")).to_be_visible()
    well(page)
    page.get_by_label("Token").fill(OPERATOR)
    page.keyboard.press("Enter")
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    well(page)
    page.keyboard.press("Escape")
    page.goto(f"{url_of(guarded)}/ui/nothing")
    expect(page.get_by_role("heading", name="There is no such screen")).to_be_visible()
    well(page)
    page.route("**/assets/Topics-*.js", lambda route: route.abort())
    page.goto(f"{url_of(guarded)}/ui/topics")
    expect(page.get_by_role("alert").filter(has_text="This request got no answer.")).to_be_visible()
    well(page)


READ = {
    f"start?type={TYPE}": """
        - group "What of it":
          - radio "a time range" [checked]
          - radio "since an instant, until now"
          - radio "what is new since the coverage's end"
          - combobox "Time range"
    """,
    "schedules": f"""
        - table "Schedules":
          - rowgroup:
            - row "Schedule When Next run Latest run"
          - rowgroup:
            - row /nightly BTCUSDT · {TYPE} 5 0 \\* \\* \\* UTC \\d+-\\d+-\\d+ 00:05:00 It has not run yet\\./
    """,
    "dead-letters": """
        - heading "Dead letters" [level=1]
        - paragraph: Records that could not be stored. Each is kept with its reason until it is replayed.
        - heading "No workflow has dead letters" [level=2]
        - paragraph
        - code: streamforge dlq list QUEUE_ID
    """,
    "settings": """
        - region "Preferences of this browser":
          - heading "Preferences of this browser" [level=2]
          - combobox "Language"
          - combobox "Theme"
          - combobox "Time zone"
          - combobox "Numbers"
          - checkbox "Single keys do something" [checked]
    """,
    f"series/BTCUSDT/{TYPE}": f"""
        - region "Bars in view, 1m each":
          - heading "Bars in view, 1m each" [level=2]
          - group "Bars in view, 1m each":
            - table "BTCUSDT {TYPE}":
              - rowgroup:
                - row "Opens Open High Low Close Volume Records Verdict"
              - rowgroup:
                - row:
                  - rowheader "2024-08-01 00:00:00"
                  - cell /\\d+\\.\\d+/
                  - cell /\\d+\\.\\d+/
                  - cell /\\d+\\.\\d+/
                  - cell /\\d+\\.\\d+/
                  - cell /\\d+\\.\\d+/
                  - cell "1 / 1"
                  - cell "stored"
          - navigation "Bars in view, 1m each":
            - text: Page 1 of 3, 60 bars
            - button "Back" [disabled]
            - button "Next"
    """,
}
"""A region of each screen as assistive technology has it."""


def test_what_is_read_of_a_screen(guarded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(guarded), f"/nothing#token={OPERATOR}")
    for path, read in READ.items():
        page.goto(f"{url_of(guarded)}/ui/{path}")
        expect(page.get_by_role("main")).to_match_aria_snapshot(read)


def test_paused_updates_hold_every_screen(guarded: rig.Manager, opened: Opened) -> None:
    (one,) = guarded.api.get("/queues").json()["queues"]
    page = opened(url_of(guarded), f"/nothing#token={OPERATOR}", language="ru")
    of_one = (f"workflows/{one['queue_id']}", f"series/BTCUSDT/{TYPE}", "schedules/nightly", f"topics/{one['topic']}")
    for path in (*LISTS, *of_one, f"dead-letters/{one['queue_id']}", "graphs", "models"):
        holds(page, f"{url_of(guarded)}/ui/{path}")


def test_dialogs(guarded: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(guarded), f"/workflows#token={OPERATOR}", width=390)
    page.get_by_label("Choose BTCUSDT").check()
    page.get_by_role("button", name="Forget (1)").click()
    expect(page.get_by_role("dialog", name="Forget 1 workflow?")).to_be_visible()
    well(page)
    page.keyboard.press("Escape")
    page.get_by_role("row").get_by_role("link").first.click()
    page.get_by_role("button", name="Forget", exact=True).click()
    dialog = page.get_by_role("dialog")
    problem = {"status": 409, "code": "held", "detail": "it is held", "next_step": "try later"}
    page.route("**/queues/wf-*", lambda route: route.fulfill(status=409, json=problem), times=1)
    dialog.get_by_role("button", name="Forget", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("it is held")
    dialog.get_by_role("checkbox").check()
    expect(dialog.get_by_role("textbox")).to_be_visible()
    well(page)
    page.goto(f"{url_of(guarded)}/ui/schedules/nightly")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    well(page)
    # Who closes it before the answer is told what failed all the same.
    held = list[Route]()
    page.route(
        "**/schedules/nightly", lambda one: held.append(one) if one.request.method == "DELETE" else one.fallback()
    )
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    held[0].fulfill(status=409, json=problem)
    expect(page.locator(".said")).to_have_text("it is held — try later")


@pytest.mark.long
def test_screens_that_have_failed(guarded: rig.Manager, opened: Opened) -> None:
    def busy(route: Route) -> None:
        route.fulfill(status=503, json=BUSY)

    page = opened(url_of(guarded), f"/nothing#token={OPERATOR}", width=390)
    for at, path in enumerate((*MISSING, *LISTS)):
        if path == LISTS[0]:
            page.route(lambda url: API.match(url.removeprefix(url_of(guarded))) is not None, busy)
        page.goto(f"{url_of(guarded)}/ui/{path}")
        look(page, *LOOKS[at % 2])
        expect(page.locator("main .failed").first).to_be_visible()
        assert (path, violations(page)) == (path, [])
        assert width_of(page) <= 390


def test_a_language_that_does_not_load_leaves_the_one_that_is_shown(calm: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(calm))
    seen(page, "Workflows")
    language = page.locator(".settings select").nth(2)
    page.route("**/assets/ru-*", lambda route: route.abort())
    language.select_option("ru")
    expect(language).to_have_value("en")
    seen(page, "Workflows")
    expect(page.locator(".said")).to_contain_text("Русский: its texts could not be loaded.")
    expect(language.get_by_role("option").nth(1)).to_have_text("Русский (not loaded)")
    page.unroute("**/assets/ru-*")
    page.reload()
    with page.expect_response("**/assets/ru-*"):
        language.select_option("ru")
    seen(page, "Рабочие процессы")
    expect(page.locator("html")).to_have_attribute("lang", "ru")


@pytest.mark.parametrize(
    ("path", "asks", "words"),
    [("workflows", "/queues", "search"), ("series", "/series", "prefix"), ("coverage", "/coverage", "prefix")],
)
def test_rows_of_other_filters_are_not_shown_below_an_error(
    calm: rig.Manager, opened: Opened, path: str, asks: str, words: str
) -> None:
    page = opened(url_of(calm), f"/{path}")
    rows, told = page.get_by_text("BTCUSDT"), page.get_by_role("alert").filter(has_text="it is busy")
    expect(rows.first).to_be_visible()
    page.route(re.compile(rf"{asks}\?"), lambda route: route.fulfill(status=503, json=BUSY))
    page.get_by_role("searchbox").fill("eth")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{words}=eth"))
    expect(told).to_be_visible()
    expect(rows).to_have_count(0)
    expect(page.get_by_role("searchbox")).to_have_value("eth")
    page.unroute(re.compile(rf"{asks}\?"))
    page.get_by_role("button", name="Ask again").click()
    expect(told).to_have_count(0)
    page.go_back()
    expect(rows.first).to_be_visible()
    page.route(re.compile(rf"{asks}\?"), lambda route: route.fulfill(status=503, json=BUSY))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(told).to_be_visible()
    expect(rows.first).to_be_visible()  # of the same filters they are old, and true
