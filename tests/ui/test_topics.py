"""The screens of topics in a browser, before a real manager with a workflow that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e import bus, rig
from tests.e2e.test_topics import make, start, write
from tests.ui.conftest import LOOKS, Opened, apart, replaced, width_of
from tests.ui.test_screens import HOUR, TYPE, seen, url_of, violations


@pytest.fixture(scope="module")
def busy(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[rig.Manager, str, str]]:
    """A manager, a workflow of candles that has finished, and one that stores the topic `orders` until a stop."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("topics") / "data", exchange.url) as found:
        finished = found.loaded("BTCUSDT", TYPE, HOUR)["queue_id"]
        apart(lambda: make(found.data, "orders"))
        apart(lambda: write(found.data, "orders", [b'{"n":%d}' % n for n in range(5)] + [b"no JSON"] * 2))
        queue_id = start(found, "orders", until="stop")
        found.until(queue_id, "all is read", lambda one: one["progress"]["records_refused"] == 2)
        yield found, finished, queue_id


def test_topics_are_found_sorted_and_filtered_and_stay_in_the_address(
    busy: tuple[rig.Manager, str, str], opened: Opened
) -> None:
    manager, finished, queue_id = busy
    page = opened(url_of(manager), "/topics")
    seen(page, "Topics")
    there = sorted(apart(lambda: bus.topics(manager.data)))
    expect(page.locator("[data-row]")).to_have_text(there)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="orders", exact=True))
    expect(row).to_contain_text("messages of another producer")
    expect(row.get_by_role("cell", name="7", exact=True)).to_be_visible()
    expect(row).to_contain_text("1 reader, 1 running")
    expect(row).to_contain_text("last heard of")
    page.get_by_label("Sort by").select_option("lag")
    expect(page).to_have_url(re.compile("sort=lag$"))
    expect(page.get_by_role("columnheader", name="To be read")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("[data-row]").first).to_have_text(f"{queue_id}-data-dlq")
    page.get_by_label("Holds").select_option("records")
    page.get_by_label("Name").fill("BTCUSDT")
    page.keyboard.press("Enter")
    expect(page.locator("[data-row]")).to_have_text([f"{finished}-data"])
    page.reload()
    expect(page.locator("[data-row]")).to_have_text([f"{finished}-data"])
    expect(page.get_by_label("Sort by")).to_have_value("lag")
    page.get_by_label("Name").fill("nothing")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No topic fits these filters")).to_be_visible()


def test_without_topics_it_says_what_makes_some(busy: tuple[rig.Manager, str, str], opened: Opened) -> None:
    page = opened(url_of(busy[0]), "/nothing")
    replaced(page, "**/topics?*", lambda body: body.update(topics=[], cursor=None))
    page.goto(f"{url_of(busy[0])}/ui/topics")
    empty = page.locator("section.empty")
    expect(empty.get_by_role("heading", name="There is no topic of a workflow")).to_be_visible()
    expect(empty).to_contain_text("streamforge load BTCUSDT api_candles_1m 2024-08-01")
    page.unroute_all(behavior="wait")
    expect(page.locator("[data-row]").first).to_be_visible()


def test_one_topic_tells_who_reads_it_and_what_is_not_known(busy: tuple[rig.Manager, str, str], opened: Opened) -> None:
    manager, _, queue_id = busy
    page = opened(url_of(manager), "/topics/orders")
    reader = page.get_by_role("table", name="Readers").get_by_role("row").nth(1)
    expect(reader).to_contain_text("arango-connector")
    expect(reader).to_contain_text("runs")
    expect(reader.get_by_role("cell", name="7", exact=True)).to_be_visible()
    expect(page.get_by_role("table", name="Partitions")).to_match_aria_snapshot("""
        - table "Partitions":
          - rowgroup:
            - row "Partition First offset Next offset Messages"
          - rowgroup:
            - row "0 0 7 7"
    """)
    expect(page.get_by_text("A rate is known from the second look on.")).to_have_count(0)
    expect(page.get_by_text("When a reader last took a message is not known of any bus.")).to_be_visible()
    apart(lambda: write(manager.data, "orders", [b'{"n":7}']))
    grown = page.get_by_role("table", name="Partitions").get_by_role("row").nth(1)
    expect(grown).to_have_text(re.compile(r"0\s*0\s*8\s*8"))
    page.goto(f"{url_of(manager)}/ui/topics/{queue_id}-data-dlq")
    page.get_by_role("link", name="Its dead letters").click()
    expect(page).to_have_url(re.compile(f"/dead-letters/{queue_id}$"))
    page.goto(f"{url_of(manager)}/ui/topics/nothing")
    expect(page.get_by_role("alert")).to_contain_text("there is no topic 'nothing' of a workflow")


def test_what_a_bus_does_not_tell_is_said_plainly(busy: tuple[rig.Manager, str, str], opened: Opened) -> None:
    manager, _, _ = busy
    page = opened(url_of(manager), "/nothing")
    replaced(
        page,
        f"{url_of(manager)}/topics/queue-events",
        lambda body: body.update(bytes=None, rate=None, rate_seconds=None),
    )
    page.goto(f"{url_of(manager)}/ui/topics/queue-events")
    seen(page, "queue-events")
    for text in ("does not tell how many bytes", "from the second look on", "no sink of a workflow that is known"):
        expect(page.get_by_role("listitem").filter(has_text=text)).to_be_visible()
    expect(page.get_by_role("definition").filter(has_text="not known")).to_have_count(3)


def test_keyboard_alone(busy: tuple[rig.Manager, str, str], opened: Opened) -> None:
    manager, _, queue_id = busy
    page = opened(url_of(manager))
    seen(page, "Workflows")
    keys = page.keyboard
    keys.press("g")
    keys.press("t")
    seen(page, "Topics")
    keys.press("/")
    keys.type("orders")
    keys.press("Enter")
    expect(page.locator("[data-row]")).to_have_text(["orders", f"{queue_id}-data-dlq"])
    keys.press("Escape")
    keys.press("j")
    keys.press("Enter")
    seen(page, "orders")


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    busy: tuple[rig.Manager, str, str], opened: Opened, theme: str, language: str
) -> None:
    manager, _, _ = busy
    page = opened(url_of(manager), "/topics", theme=theme, language=language, width=390)
    places = {"": "[data-row]", "?search=nothing": ".empty", "/orders": "dl.facts", "/none": ".failed"}
    for path, there in places.items():
        page.goto(f"{url_of(manager)}/ui/topics{path}")
        expect(page.locator(there).first).to_be_visible()
        assert violations(page) == []
        assert width_of(page) <= 390
