"""The screen that starts workflows and batches, before a real manager with real workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e import rig
from tests.places import ROOT
from tests.ui.conftest import Opened, replaced, width_of
from tests.ui.test_access import OPERATOR, READER, kept
from tests.ui.test_screens import HOSTILE, seen, url_of, violations

DAY, TYPE = "2024-08-01", "api_candles_1h"
TITLE = "Start a workflow or a batch"
Filled = Callable[..., Page]


@pytest.fixture(scope="module")
def desk(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with tokens; each test has a range of its own."""
    settings = {"STREAMFORGE_READER_TOKEN": READER, "STREAMFORGE_OPERATOR_TOKEN": OPERATOR}
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("desk") / "data", exchange.url, **settings) as found:
        found.api.headers["Authorization"] = f"Bearer {OPERATOR}"
        yield found


@pytest.fixture
def filled(desk: rig.Manager, opened: Opened) -> Filled:
    """Opens the screen with the form filled in by its address."""

    def open_form(token: str = OPERATOR, **texts: str) -> Page:
        page = opened(url_of(desk), f"/start?{urlencode(texts)}#token={token}")
        expect(page.locator("#field-type")).to_be_visible()
        return page

    return open_form


def planned(page: Page) -> Locator:
    """The plan, once the button for it was pressed."""
    page.get_by_role("button", name="Show the plan").click()
    found = page.get_by_role("region", name="What it would load")
    expect(found).to_be_visible()
    return found


def started(page: Page) -> str:
    """The workflow that the page leads to."""
    expect(page).to_have_url(re.compile(r"/ui/workflows/wf-[^?]+$"))
    return urlsplit(page.url).path.rpartition("/")[2]


def workflows(manager: rig.Manager, **of: str) -> list[rig.Json]:
    found: list[rig.Json] = manager.api.get("/queues", params=of).raise_for_status().json()["queues"]
    return found


def looks(page: Page) -> Iterator[None]:
    """The page in both themes and both languages, one after the other."""
    for theme in ("light", "dark"):
        for language in ("en", "ru"):
            page.locator(".settings select").nth(1).select_option(theme)
            page.locator(".settings select").nth(2).select_option(language)
            expect(page.locator("html")).to_have_attribute("lang", language)
            yield


def fact(plan: Locator, name: str) -> Locator:
    return plan.locator("dl.facts > div").filter(has=plan.page.get_by_text(name, exact=True))


def test_what_the_plan_says_is_what_then_happens(desk: rig.Manager, filled: Filled) -> None:
    page = filled()
    page.get_by_label("Symbols", exact=True).fill("btcusdt")
    page.get_by_label("Type", exact=True).fill(TYPE)
    page.get_by_label("Time range", exact=True).fill(DAY)
    expect(page.get_by_text("[2024-08-01, 2024-08-02) UTC")).to_be_visible()
    plan = planned(page)
    expect(fact(plan, "To load")).to_contain_text("24 records")
    expect(fact(plan, "Stored already")).to_contain_text("0 records")
    expect(plan.get_by_role("table", name="Plan").get_by_role("row").nth(1)).to_contain_text("requests")
    assert workflows(desk, search="wf-btcusdt-api_candles_1h-20240801") == []
    page.get_by_label("Time range", exact=True).fill("2024-08-01:2024-08-03")
    expect(plan.get_by_role("button", name="Start this workflow")).to_have_attribute("aria-disabled", "true")
    expect(plan).to_contain_text("The form has changed since. Show the plan again.")
    page.get_by_label("Time range", exact=True).fill(DAY)
    plan.get_by_role("button", name="Start this workflow").click()
    found = desk.finished(started(page))
    assert found["progress"]["records_expected"] == 24
    assert [(one["start_ms"], one["end_ms"], one["source"]) for one in found["parts"]] == [
        (found["time_range"]["start_ms"], found["time_range"]["end_ms"], "rest")
    ]
    page.go_back()
    plan = planned(page)
    expect(fact(plan, "To load")).to_contain_text("0 records")
    expect(fact(plan, "Stored already")).to_contain_text("24 records")
    expect(plan).to_contain_text("All of it is stored: nothing would be loaded.")


def test_each_parameter_of_a_target_has_words(desk: rig.Manager) -> None:
    folder = ROOT / "src/streamforge/web/src/words"
    words = "".join((folder / language / "fields.ts").read_text(encoding="utf-8") for language in ("en", "ru"))
    for target in desk.api.get("/targets").json()["targets"]:
        if target["role"] != "diagnostic":
            for key in [f"target.{target['target']}", *(f"hint.{name}" for name in target["parameters"]["properties"])]:
                assert words.count(f'"{key}":') == 2, key


def test_five_symbols_are_started_as_a_batch_and_watched(desk: rig.Manager, filled: Filled) -> None:
    symbols = ["BNBUSDT", "BTCUSDT", "ETHUSDT", "NEWUSDT", "SOLUSDT"]
    page = filled(type=TYPE, time_range="2024-08-02", labels="team:research")
    page.get_by_label("Symbols", exact=True).fill("btcusdt, ethusdt;BNBUSDT\nSOLUSDT NEWUSDT,ETHUSDT")
    expect(page.get_by_text("A batch of 5 symbols.")).to_be_visible()
    expect(page.get_by_label("Leave out unknown symbols")).to_be_visible()
    plan = planned(page)
    expect(fact(plan, "To load")).to_contain_text("120 records")
    expect(plan.get_by_role("table", name="Symbols").get_by_role("row")).to_have_count(6)
    plan.get_by_role("button", name="Start the batch of 5 symbols").click()
    expect(page).to_have_url(re.compile(r"/ui/workflows\?batch=batch-"))
    expect(page.get_by_role("row").filter(has_text="24 of 24 records").filter(has_text="finished")).to_have_count(5)
    [batch] = parse_qs(urlsplit(page.url).query)["batch"]
    made = workflows(desk, batch=batch)
    assert sorted(one["symbol"] for one in made) == symbols
    assert {(one["status"], one["labels"]["team"]) for one in made} == {("finished", "research")}


def test_what_is_wrong_stands_at_its_field(desk: rig.Manager, filled: Filled) -> None:
    page = filled(
        symbols="BTCUSTD", type=TYPE, time_range="2024-8", **{"parameters.loader-api-candles.concurrency": "99"}
    )
    symbols, time_range = page.get_by_label("Symbols", exact=True), page.get_by_label("Time range", exact=True)
    page.get_by_role("button", name="Show the plan").click()
    expect(time_range).to_be_focused()
    expect(time_range).to_have_accessible_description(re.compile("This is no time range"))
    concurrency = page.get_by_label("Requests at once")
    expect(concurrency).to_have_accessible_description(re.compile("It must be at most 32."))
    time_range.fill("2024-08-03")
    concurrency.fill("")
    page.get_by_role("button", name="Show the plan").click()
    expect(symbols).to_be_focused()
    expect(symbols).to_have_accessible_description(re.compile("BTCUSTD is not a symbol of .*did you mean BTCUSDT?"))
    page.get_by_role("button", name="Use BTCUSDT").click()
    expect(symbols).to_have_value("BTCUSDT")
    page.get_by_label("Collection").fill("1a")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_label("Collection")).to_be_focused()
    expect(page.get_by_label("Collection")).to_have_accessible_description(re.compile("'1a' must begin with a letter"))
    page.get_by_label("Collection").fill("")
    symbols.fill("BTCUSDT ETHUSD")
    page.get_by_role("button", name="Show the plan").click()
    expect(symbols).to_have_accessible_description(re.compile(r"ETHUSD \(did you mean ETHUSDT\?\)"))
    assert workflows(desk, search="wf-btcusdt-api_candles_1h-20240803") == []


def test_a_double_click_and_a_lost_answer_start_one_thing(desk: rig.Manager, filled: Filled) -> None:
    page = filled(symbols="ETHUSDT", type=TYPE, time_range="2024-08-04", again="true")
    keys: list[str | None] = []

    def cut(route: Route) -> None:
        route.fetch()
        keys.append(route.request.headers.get("idempotency-key"))
        route.abort()

    page.route("**/queues/start", cut)
    planned(page).get_by_role("button", name="Start this workflow").dblclick()
    expect(page.get_by_role("alert").filter(has_text="it is not known whether it was started")).to_be_visible()
    page.reload()
    planned(page).get_by_role("button", name="Start this workflow").click()
    expect(page.get_by_role("alert").filter(has_text="it is not known whether it was started")).to_be_visible()
    page.unroute("**/queues/start")
    page.get_by_role("button", name="Start this workflow").click()
    found = started(page)
    desk.finished(found)
    assert [one["queue_id"] for one in workflows(desk, search="wf-ethusdt-api_candles_1h-20240804")] == [found]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    page.go_back()
    planned(page).get_by_role("button", name="Start this workflow").click()
    assert started(page) != found  # its answer was known: this asks for another one


def test_a_workflow_fills_the_form_with_all_of_its_request(desk: rig.Manager, filled: Filled) -> None:
    chosen = {"loader-api-candles": {"concurrency": 2}, "arango-candles": {"store_patience_seconds": 5.5}}
    more = {"parameters": chosen, "labels": {"team": "a b", "x/y": "ж"}, "source": "rest", "again": True}
    first = desk.loaded("SOLUSDT", TYPE, "2024-08-05", **more)
    page = filled()
    page.goto(f"{url_of(desk)}/ui/workflows/{first['queue_id']}")
    page.get_by_role("button", name="Start one like this").click()
    expect(page.get_by_label("Symbols", exact=True)).to_have_value("SOLUSDT")
    expect(page.get_by_label("Time range", exact=True)).to_have_value("2024-08-05")
    expect(page.get_by_label("Requests at once")).to_have_value("2")
    expect(page.get_by_label("Labels")).to_have_value("team:a b\nx/y:ж")
    expect(page.get_by_label("Load again what is stored")).to_be_checked()
    expect(page.get_by_label("Source")).to_have_value("rest")
    expect(page).to_have_url(re.compile(r"/start\?symbols=SOLUSDT&"))
    assert OPERATOR not in kept(page)
    page.reload()
    planned(page).get_by_role("button", name="Start this workflow").click()
    second = desk.finished(started(page))
    assert second["queue_id"] != first["queue_id"]
    requests = [desk.api.get(f"/queues/{one['queue_id']}/request").json() for one in (first, second)]
    assert requests[0] == requests[1] == {"symbol": "SOLUSDT", "type": TYPE, "time_range": "2024-08-05", **more}


def test_a_live_type_has_no_plan_and_starts_from_now_on(desk: rig.Manager, filled: Filled) -> None:
    page = filled(symbols="BTCUSDT", type="ws_candles_1m")
    expect(page.get_by_label("from now on, until it is stopped")).to_be_checked()
    plan = planned(page)
    expect(plan).to_contain_text("so there is no plan")
    plan.get_by_role("button", name="Start this workflow").click()
    found = started(page)
    assert desk.api.get(f"/queues/{found}/request").json() == {"symbol": "BTCUSDT", "type": "ws_candles_1m"}
    desk.post(f"/queues/{found}/stop")
    desk.wait(found)


def test_the_same_request_for_other_tools(filled: Filled) -> None:
    page = filled(symbols="BTCUSDT", type=TYPE, time_range=DAY, source="rest")
    page.get_by_text("Copy as").click()
    copies = page.locator(".copies")
    expect(copies).to_contain_text(f"streamforge load BTCUSDT {TYPE} {DAY} --source rest --server http://127.0.0.1")
    expect(copies).to_contain_text("$STREAMFORGE_TOKEN")
    expect(copies).not_to_contain_text(OPERATOR)
    page.get_by_text("More: targets").click()
    page.get_by_label("Collection").fill("mine")
    expect(copies).to_contain_text("The command line has no option for: collection_name.")


def test_by_keyboard_alone(desk: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(desk), f"/workflows#token={OPERATOR}")
    seen(page, "Workflows")
    keys = page.keyboard
    keys.press("g")
    keys.press("n")
    seen(page, TITLE)
    symbols = page.get_by_label("Symbols", exact=True)
    symbols.focus()
    keys.type("sol")
    expect(page.get_by_role("button", name="SOLUSDT")).to_be_visible()
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(symbols).to_have_value("SOLUSDT ")
    expect(symbols).to_be_focused()
    keys.press("Tab")
    keys.type(TYPE)
    keys.press("Tab")
    keys.press("Tab")
    keys.type("2024-08-06")
    keys.press("Enter")
    expect(page.get_by_role("region", name="What it would load")).to_be_focused()
    button = page.get_by_role("button", name="Start this workflow")
    for _ in range(3):
        if button.evaluate("it => it === document.activeElement"):
            break
        keys.press("Tab")
    expect(button).to_be_focused()
    keys.press("Enter")
    assert desk.finished(started(page))["progress"]["records_stored"] == 24


def test_what_is_noted_of_a_plan_is_said_in_the_language(filled: Filled) -> None:
    def noted(body: rig.Json) -> None:
        values = {"store_bytes": 2000, "download_bytes": 0, "free_bytes": 1000}
        codes = [{"code": "disk-too-small", "values": values}, {"code": "newer", "values": {}}]
        body.update(warnings=["the first", "the second"], warning_codes=codes, cut_short="no route")
        refused = {"code": "refused", "values": {"detail": "it is banned"}}
        body["each"][0].update(note="it is banned", note_codes=[refused], refused=True)

    page = filled(symbols="BTCUSDT ETHUSDT", type=TYPE, time_range="2024-08-20")
    replaced(page, "**/plans", noted)
    page.locator(".settings select").nth(2).select_option("ru")
    page.get_by_role("button", name="Показать план").click()
    plan = page.get_by_role("region", name="Что будет загружено")
    expect(plan.get_by_role("alert")).to_have_text([re.compile("^Не поместится: записи займут .*2"), "the second"])
    expect(fact(plan, "Время, примерно")).to_contain_text("Дольше всего идут запросы: ")
    expect(plan).to_contain_text("Остальные не рассмотрены: no route")
    expect(plan.get_by_role("row").nth(1)).to_contain_text("Загрузить нельзя. it is banned")


def test_who_has_left_the_form_is_not_led_away_by_a_late_answer(desk: rig.Manager, filled: Filled) -> None:
    held = list[Route]()
    page = filled(symbols="SOLUSDT", type=TYPE, time_range="2024-08-10")
    plan = planned(page)
    page.route("**/queues/start", lambda route: held.append(route))
    with page.expect_request("**/queues/start"):
        plan.get_by_role("button", name="Start this workflow").click()
    page.get_by_role("link", name="Topics").click()
    seen(page, "Topics")
    held[0].continue_()
    expect(page.locator(".said")).to_contain_text("wf-solusdt-")
    expect(page).to_have_url(f"{url_of(desk)}/ui/topics")


def test_a_reader_fills_the_form_and_starts_nothing(desk: rig.Manager, filled: Filled) -> None:
    page = filled(READER, symbols="BNBUSDT", type=TYPE, time_range="2024-08-07")
    button = page.get_by_role("button", name="Show the plan")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description("Your token is a reader's. This needs an operator's token.")
    posted = list[str]()
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    button.click(force=True)
    page.get_by_label("Time range", exact=True).press("Enter")
    page.evaluate("fetch('/healthz')")  # behind what they would ask
    assert posted == []


def test_what_comes_from_elsewhere_is_text(desk: rig.Manager, filled: Filled) -> None:
    def described(body: rig.Json) -> None:
        for target in body["targets"]:
            target.update(target=f"x-{target['target']}", summary=HOSTILE)  # one without words in the catalogue
            for parameter in target["parameters"]["properties"].values():
                parameter["description"] = HOSTILE

    def planned_so(body: rig.Json) -> None:
        if "parts" in body:  # no problem
            body.update(warnings=[HOSTILE], estimate=HOSTILE, targets=[HOSTILE])
            body["parts"][0].update(reason=HOSTILE, source=HOSTILE)

    page = filled()
    replaced(page, "**/targets", described)
    replaced(page, "**/plans", planned_so)
    replaced(
        page, "**/symbols?*", lambda body: body["symbols"].append({"symbol": HOSTILE.upper(), "status": "TRADING"})
    )
    page.goto(
        f"{url_of(desk)}/ui/start?{urlencode({'symbols': '<IMG', 'type': TYPE, 'time_range': DAY, 'x<b>': HOSTILE})}"
    )
    page.get_by_label("Symbols", exact=True).focus()
    expect(page.get_by_role("button", name="<IMG SRC=X").first).to_be_visible()
    page.get_by_text("More: targets").click()
    expect(page.locator("fieldset small").filter(has_text=HOSTILE).first).to_be_visible()
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("#field-symbols-wrong")).to_contain_text("<IMG")
    page.get_by_label("Symbols", exact=True).fill("NEWUSDT")
    plan = planned(page)
    expect(plan.get_by_role("alert")).to_contain_text(HOSTILE)
    expect(plan.get_by_role("table")).to_contain_text(HOSTILE)
    assert page.locator("img, main script").count() == 0
    assert "owned" not in page.title()


def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(filled: Filled) -> None:
    page = filled(symbols="BTCUSDT", type=TYPE, time_range="2024-08-09")
    expect(page.locator("button[type=submit]")).to_have_attribute("aria-disabled", "false")
    page.locator("button[type=submit]").click()
    expect(page.locator("section table")).to_be_visible()
    page.locator("summary").first.click()
    page.locator("summary").last.click()
    assert [violations(page) for _ in looks(page)] == 4 * [[]]
    page.locator("#field-range").fill("never")
    page.locator("button[type=submit]").click()
    expect(page.locator("#field-range")).to_be_focused()
    assert [violations(page) for _ in looks(page)] == 4 * [[]]
    page.set_viewport_size({"width": 390, "height": 800})
    assert width_of(page) <= 390
