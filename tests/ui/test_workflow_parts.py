"""The parts of the screen of one workflow that can be long: logs, attempts, events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e import rig
from tests.ui.conftest import Opened, replaced
from tests.ui.test_screens import HOSTILE, seen, url_of

EVENTS = 10_000
MOST_NODES = 1500
NODES = """() => {
    const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_ALL);
    let found = 1;
    while (walk.nextNode()) found += 1;
    return found;
}"""


@pytest.fixture(scope="module")
def retried(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[rig.Manager, str]]:
    """A manager with a workflow that has finished in the second attempt of its loader."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("retried") / "data", exchange.url) as found:
        exchange.switch_on(rig.HELD)
        queue_id = found.half_loaded("BTCUSDT", "2024-08")
        found.kill_worker(queue_id, rig.LOADER)
        exchange.lift_faults()
        found.finished(queue_id)
        yield found, queue_id


def logged(page: Page, attempt: int) -> None:
    """The log of this attempt is shown."""
    expect(page.get_by_role("region", name="Log").get_by_text(f"Attempt {attempt}, its last lines:")).to_be_visible()


def test_the_log_of_each_attempt_can_be_read(retried: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, queue_id = retried
    page = opened(url_of(manager), f"/workflows/{queue_id}")
    logged(page, 2)
    log = page.get_by_role("group", name="Log", exact=True)
    expect(log).to_contain_text(re.compile(r"\S"))
    page.get_by_label("Log of").select_option(label=f"{rig.LOADER}: attempt 1, error")
    logged(page, 1)
    expect(page).to_have_url(re.compile(rf"\?log={rig.LOADER}%3A1$"))
    page.reload()
    logged(page, 1)
    which = {"step": rig.LOADER, "attempt": "1"}
    [kept] = manager.api.get(f"/queues/{queue_id}/logs", params=which).json()["logs"]
    first = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3} info +\S.* target=loader-api-candles ")
    utc = first.match(log.locator("pre").first.text_content() or "")
    page.get_by_label("Time zone").select_option("local")
    local = first.match(log.locator("pre").first.text_content() or "")
    assert utc
    assert local
    assert datetime.fromisoformat(local[1]) - datetime.fromisoformat(utc[1]) == timedelta(hours=5, minutes=30)
    page.get_by_label("As it was written").check()
    expect(page).to_have_url(re.compile(r"lines=raw"))
    assert log.locator("pre").text_content() == kept["text"]
    attempts = page.get_by_role("table", name="Attempts")
    expect(attempts.get_by_role("row").filter(has_text=f"{rig.LOADER} attempt 1")).to_contain_text("signal 9")


def test_the_steps_are_a_graph_and_their_attempts_lie_on_an_axis_of_time(
    retried: tuple[rig.Manager, str], opened: Opened
) -> None:
    manager, queue_id = retried
    page = opened(url_of(manager), f"/workflows/{queue_id}")
    steps = {one["target"]: one for one in manager.show(queue_id)["steps"]}
    expect(page.get_by_role("list", name="From the exchange to the store")).to_match_aria_snapshot(f"""
        - list "From the exchange to the store":
          - listitem: exchange
          - listitem:
            - strong: {rig.LOADER}
            - text: finished {steps[rig.LOADER]["records"]:,} records
          - listitem: Topic
          - listitem:
            - strong: {rig.SINK}
            - text: finished {steps[rig.SINK]["records"]:,} records
          - listitem: Collection
    """)
    lanes = page.locator(".axis .lane")
    expect(page.locator(".axis > span")).to_have_text([rig.LOADER, rig.SINK, ""])
    spans = "all => all.map(one => [one.dataset.status, one.offsetLeft, one.offsetLeft + one.offsetWidth])"
    (first, one, _), (second, other, end) = lanes.first.locator("i").evaluate_all(spans)
    assert (first, second) == ("error", "finished")
    assert one < other < end <= lanes.first.evaluate("found => found.offsetWidth") + 1
    begun = datetime.fromisoformat(min(one["started_at"] for of in steps.values() for one in of["attempts"]))
    expect(page.locator(".ticks span").first).to_have_text(f"{begun:%Y-%m-%d %H:%M:%S}")


def test_a_log_is_followed_and_kept_short(retried: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, queue_id = retried
    page = opened(url_of(manager), "/nothing")
    asked: list[str] = []

    def grow(route: Route) -> None:
        asked.append(route.request.url)
        first = 300 * (len(asked) - 1)
        text = "".join(f"line {n}\n" for n in range(first, first + 300))
        ended = len(asked) == 3
        log = {"step": rig.LOADER, "attempt": 2, "job": "j", "ended": ended, "text": text, "resumed": first > 0}
        after = f"{rig.LOADER}:2:20:{len(asked):016x}"
        route.fulfill(json={"queue_id": queue_id, "logs": [log], "after": after, "ended": ended})

    page.route("**/logs?*", grow)
    page.clock.install()
    page.goto(f"{url_of(manager)}/ui/workflows/{queue_id}")
    log = page.get_by_role("group", name="Log", exact=True)
    expect(log).to_contain_text("line 899")
    assert log.locator("pre").text_content() == "".join(f"line {n}\n" for n in range(400, 900))
    assert log.evaluate("(found) => found.scrollTop + found.clientHeight >= found.scrollHeight - 4")
    assert f"after={rig.LOADER}%3A2%3A20%3A{1:016x}" in asked[1]
    page.clock.run_for(30_000)  # at its end it is asked for rarely, also where another attempt could begin
    page.evaluate("fetch('/healthz')")
    assert len(asked) == 3


def test_a_traceback_is_unfolded_and_all_of_a_log_is_text(retried: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, queue_id = retried
    page = opened(url_of(manager), "/nothing")
    given = {"timestamp": "2024-08-01T12:30:05.25Z", "level": "error", "event": HOSTILE, "of": HOSTILE}
    lines = [HOSTILE, json.dumps(given | {"exception": f"Traceback:\n  {HOSTILE}"}), json.dumps(given | {"event": "2"})]
    text = "".join(f"{one}\n" for one in lines)

    def logs(body: rig.Json) -> None:
        body["logs"][-1] |= {"text": text, "resumed": False, "ended": True}

    replaced(page, "**/logs?*", logs)
    page.goto(f"{url_of(manager)}/ui/workflows/{queue_id}")
    log = page.get_by_role("group", name="Log", exact=True)
    shown = HOSTILE.replace("\u202e", r"\u202e")
    expect(log.locator("pre").nth(1)).to_contain_text(f"2024-08-01 12:30:05.250 error {shown} of=")
    trace = log.get_by_text("Traceback:")
    expect(trace).to_be_hidden()
    log.get_by_text("Traceback", exact=True).click()
    expect(trace).to_contain_text(shown)
    assert page.locator("img, main script").count() == 0


def test_what_the_server_says_by_name_is_said_in_russian(retried: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, queue_id = retried
    page = opened(url_of(manager), "/nothing", language="ru")
    page.locator(".settings select").nth(2).select_option("ru")
    failure = {"reason": "2 holes are left", "next_step": "load again", "code": "holes-left"}
    values = {"start_ms": 0, "end_ms": 86_400_000, "detail": "the zip is cut off"}
    codes = [{"code": "requests-instead", "values": values}, {"code": "newer", "values": {}}]
    said = {"failure": failure, "remarks": ["the first", "the second"], "remark_codes": codes}
    replaced(page, f"**/queues/{queue_id}", lambda body: body.update(said))
    page.goto(f"{url_of(manager)}/ui/workflows/{queue_id}")
    expect(page.locator(".failed strong")).to_have_text(re.compile("Остались пропуски"))
    expect(page.locator(".failed [lang=en]").first).to_have_text("2 holes are left")
    expect(page.get_by_role("table", name="Покрытие по последнему доказательству")).to_contain_text("сохранено")
    expect(page.get_by_role("table", name="План")).to_contain_text("запросыархив не спрашивают")
    remarks = page.get_by_role("heading", name="Замечания").locator("+ ul > li")
    expect(remarks).to_have_text(["[1970-01-01, 1970-01-02): запросы вместо файлов. the zip is cut off", "the second"])
    expect(remarks.locator("[lang=en]")).to_have_text(["the zip is cut off", "the second"])
    expect(page.get_by_role("table", name="События")).to_contain_text("завершён")
    page.goto(f"{url_of(manager)}/ui/settings")
    told = page.get_by_role("row").filter(has_text="STREAMFORGE_HEARTBEAT_SECONDS")
    expect(told).to_contain_text("как часто рабочие сервисы сообщают, как идёт дело")
    expect(told).to_contain_text("0.2 секунд")
    page.goto(f"{url_of(manager)}/ui/workflows/wf-none-json-20240801-abc123")
    expect(page.get_by_role("alert")).to_contain_text("Такого рабочего процесса нет.")
    page.goto(f"{url_of(manager)}/ui/start?type=api_candles_1m")
    expect(page.get_by_label("Источник")).to_have_accessible_description(re.compile("Автоматически: "))
    expect(page.get_by_label("Источник").get_by_role("option")).to_have_text(
        ["автоматически (по умолчанию)", "только архив", "только запросы"]
    )


def test_tables_of_a_workflow_stack_on_a_phone(retried: tuple[rig.Manager, str], opened: Opened) -> None:
    manager, queue_id = retried
    page = opened(url_of(manager), f"/workflows/{queue_id}", width=390)
    for name in ("Attempts", "Events", "Plan", "Coverage"):
        table = page.get_by_role("group", name=re.compile(name)).locator("table").first
        expect(table).to_be_visible()
        assert table.evaluate("(found) => found.parentElement.scrollWidth - found.parentElement.clientWidth") <= 0


def test_ten_thousand_events_and_a_hundred_attempts_take_few_nodes(
    retried: tuple[rig.Manager, str], opened: Opened
) -> None:
    manager, queue_id = retried
    given = manager.api.get(f"/queues/{queue_id}/events").json()["events"][0]["event"]
    page = opened(url_of(manager), "/nothing")

    def listed(route: Route) -> None:
        after = int(re.findall(r"after=(-?\d+)", route.request.url)[0])
        ids = range(after + 1, min(after + 1001, EVENTS))
        kinds = ("loading", "started")
        events = [{"id": n, "event": given | {"event": kinds[n % 100 == 0], "message": f"said {n}"}} for n in ids]
        last = ids[-1] if ids else after
        route.fulfill(json={"queue_id": queue_id, "events": events, "after": last, "more": last + 1 < EVENTS})

    def tried(body: rig.Json) -> None:
        step = body["steps"][0]
        step["attempts"] = [step["attempts"][0] | {"number": n} for n in range(1, 101)]

    page.route("**/events?*", listed)
    replaced(page, f"**/queues/{queue_id}", tried)
    page.goto(f"{url_of(manager)}/ui/workflows/{queue_id}?events=all")
    seen(page, "BTCUSDT")
    events = page.get_by_role("table", name="Events")
    expect(events).to_contain_text("said 9999")
    expect(page.get_by_text("25 of 10,000 events are shown.")).to_be_visible()
    assert page.evaluate(NODES) <= MOST_NODES
    page.get_by_role("button", name="Older events").click()
    expect(events).to_contain_text("said 9974")
    page.get_by_label("Also heartbeats").uncheck()
    expect(events).to_contain_text("said 9900")
    expect(events).not_to_contain_text("said 9999")
    expect(page.get_by_text("9,900 heartbeats are not shown.")).to_be_visible()
    attempts = page.get_by_role("table", name="Attempts")
    expect(attempts.get_by_text("attempt 96")).to_be_visible()
    expect(attempts.get_by_text("attempt 95")).to_have_count(0)
    page.get_by_role("button", name="Show 95 earlier attempts").click()
    expect(attempts.get_by_text("attempt 95")).to_be_visible()
    page.get_by_role("button", name="Older events").click()
    expect(events).to_contain_text("said 7400")
    page.reload()  # the address has all of it
    expect(events).to_contain_text("said 7400")
    expect(attempts.get_by_text("attempt 95")).to_be_visible()
