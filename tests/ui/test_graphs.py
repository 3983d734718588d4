"""The screens of graphs in a browser, before a real manager whose graph-builder has made two of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.ui.conftest import LOOKS, Opened, replaced, width_of
from tests.ui.test_screens import HOSTILE, seen, url_of, violations

FOREIGN = "这是测试币456"
COINS = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "NEWUSDT", FOREIGN]
SIX: dict[str, Any] = {
    "graph": "six",
    "symbols": COINS,
    "type": "api_candles_1h",
    "time_range": "2024-08-03:2024-08-09",
    "definition": {
        "window": 24,
        "step": 24,
        "top_k": 2,
        "sign": "any",
        "features": ["return_24"],
        "universe": {"min_volatility": 0},
    },
    "load_missing": True,
}
LEADS = SIX | {"graph": "leads", "definition": {**SIX["definition"], "method": "lead_lag", "lag": 1}}
DAYS = [f"2024-08-0{day}" for day in range(3, 9)]


@pytest.fixture(scope="module")
def built(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with a graph of six coins over six days, and one with directions of the same series."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("graphs") / "data", exchange.url) as found:
        for asked in (SIX, LEADS):
            found.finished(found.api.post("/graphs", json=asked).raise_for_status().json()["queue_id"])
        yield found


def moment(manager: rig.Manager, day: str, graph: str = "six") -> rig.Json:
    found: rig.Json = manager.api.get(f"/graphs/{graph}/at/{day}").raise_for_status().json()
    return found


def drawn(page: Page, day: str) -> None:
    """Wait until the picture and its tables are those of the day."""
    expect(page.get_by_role("status").filter(has_text=day)).to_be_visible()
    expect(page.locator("[aria-busy=false] g.coin")).to_have_count(len(COINS))


def places(page: Page) -> dict[str, tuple[str | None, str | None]]:
    """Where the coins are drawn."""
    coins = page.locator("g.coin").all()
    circles = [one.locator("circle").last for one in coins]
    return {
        str(coin.get_attribute("data-coin")): (circle.get_attribute("cx"), circle.get_attribute("cy"))
        for coin, circle in zip(coins, circles, strict=True)
    }


def pairs(found: rig.Json) -> dict[frozenset[str], float]:
    """The weights of a moment, by the two coins that are joined."""
    return {frozenset((one["source"], one["target"])): one["weight"] for one in found["links"]}


def test_without_a_graph_it_is_said_how_to_build_one(empty: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(empty), "/graphs")
    seen(page, "Graphs")
    expect(page.get_by_role("heading", name="No graph has been built yet")).to_be_visible()
    expect(page.get_by_text("streamforge graph build top4 ")).to_be_visible()
    assert violations(page) == []


def test_graphs_are_listed_with_definition_range_and_workflow(built: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(built), "/graphs")
    [known] = [one for one in built.api.get("/graphs").json()["graphs"] if one["graph"] == "six"]
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="six", exact=True))
    expect(row).to_contain_text("6 series of api_candles_1h")
    expect(row).to_contain_text("Pearson correlation of 24 returns of 1h. A snapshot every 24 bars of 1h.")
    expect(row).to_contain_text("from the 2 others whose association is largest by size, whatever its sign.")
    expect(row).to_contain_text("[2024-08-03, 2024-08-09)")
    expect(row.get_by_role("cell", name="6", exact=True)).to_be_visible()
    expect(row.get_by_role("cell", name=str(known["edges"]), exact=True)).to_be_visible()
    expect(page.get_by_role("table", name="Graphs")).to_match_aria_snapshot(f"""
        - table "Graphs":
          - rowgroup:
            - row "Graph Definition Snapshots from, to Snapshots Edges Made by"
          - rowgroup:
            - row /^leads /
            - row /^six 6 series of api_candles_1h .* 6 {known["edges"]} wf-/
    """)
    row.get_by_role("link", name=known["queue_id"]).click()
    expect(page.get_by_role("definition").get_by_role("link", name="six", exact=True)).to_be_visible()
    page.get_by_role("definition").get_by_role("link", name="six", exact=True).click()
    seen(page, "six")
    expect(page).to_have_url(re.compile("/ui/graphs/six$"))


def test_the_graph_of_a_moment_is_drawn_and_told(built: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(built), "/graphs/six?at=2024-08-05T00:00:00Z")
    drawn(page, "2024-08-05 00:00:00, UTC, snapshot 3 of 6")
    found = moment(built, "2024-08-05")
    joined = pairs(found)
    expect(page.locator("figure line.edge:not([x1='0'])")).to_have_count(len(joined))
    below = sum(weight < 0 for weight in joined.values())
    assert below, "the test wants a negative edge"
    expect(page.locator("figure > svg line.below")).to_have_count(below)
    expect(page.get_by_text("below zero (dashed)")).to_be_visible()
    assert (
        page.locator("figure > svg line.below").first.evaluate("one => getComputedStyle(one).strokeDasharray") != "none"
    )
    expect(page.get_by_role("figure").first).to_contain_text(
        f"6 coins, {found['edges']} edges. All pairs that are joined"
    )
    edges = page.get_by_role("table", name="Edges").get_by_role("row")
    first = found["links"][0]
    expect(edges.nth(1)).to_contain_text(f"{first['source']} → {first['target']}")
    expect(edges.nth(1)).to_contain_text(repr(first["weight"]))
    expect(edges).to_have_count(1 + found["edges"])
    coins = page.get_by_role("table", name="Coins")
    expect(coins.get_by_role("columnheader")).to_have_text(
        ["Coin", "Degree", "Strength", "Clustering", "PageRank", "return_24"]
    )
    page.get_by_label("Sort by").select_option("strength")
    expect(page).to_have_url(re.compile("sort=strength"))
    expect(coins.get_by_role("columnheader", name="Strength")).to_have_attribute("aria-sort", "descending")
    strong = sorted(found["nodes"], key=lambda one: -one["values"]["strength"])
    expect(coins.locator("[data-row]")).to_have_text([one["symbol"] for one in strong])


def test_the_address_holds_moment_and_coin_and_a_picture_follows_from_it_alone(
    built: rig.Manager, opened: Opened
) -> None:
    page = opened(url_of(built), "/graphs/six")
    drawn(page, DAYS[-1])
    slider = page.get_by_role("slider", name="Snapshot")
    slider.focus()
    newest = places(page)
    page.keyboard.press("Home")
    drawn(page, DAYS[0])
    expect(page).to_have_url(re.compile("at=2024-08-03T00%3A00%3A00Z"))
    page.keyboard.press("ArrowRight")
    drawn(page, DAYS[1])
    second = places(page)
    assert set(second) == {*COINS}
    assert second != newest
    page.get_by_role("table", name="Coins").get_by_role("link", name=FOREIGN).click()
    path = page.get_by_role("region", name=f"The path of {FOREIGN}")
    expect(path).to_be_visible()
    expect(page).to_have_url(re.compile(f"coin={quote(FOREIGN)}"))
    page.reload()
    drawn(page, DAYS[1])
    assert places(page) == second
    expect(path).to_be_visible()
    page.go_back()
    expect(path).to_have_count(0)
    drawn(page, DAYS[1])


def test_the_path_of_a_coin_is_drawn_told_and_leads_on(built: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(built), f"/graphs/six?at=2024-08-04T00:00:00Z&coin={quote(FOREIGN)}")
    path = page.get_by_role("region", name=f"The path of {FOREIGN}")
    expect(path.get_by_role("figure")).to_have_count(4)
    found = built.api.get(f"/graphs/six/coins/{FOREIGN}").json()["moments"]
    degrees = [one["values"]["degree"] for one in found]
    expect(path.get_by_role("figure").first).to_contain_text(f"{degrees[1]}; from {min(degrees)} to {max(degrees)}")
    path.get_by_text("Its path as a table").click()
    rows = path.get_by_role("table").get_by_role("row")
    expect(rows).to_have_count(7)
    expect(rows.nth(1)).to_contain_text("2024-08-03 00:00:00")
    expect(rows.nth(1).get_by_role("cell").nth(0)).to_have_text(str(degrees[0]))
    for other in found[0]["neighbours"]:
        expect(rows.nth(1).get_by_role("link", name=other["symbol"])).to_be_visible()
    expect(page.get_by_label(f"Only those of {FOREIGN}")).to_be_checked()
    expect(page.get_by_role("table", name="Edges").get_by_role("row").nth(1)).to_contain_text(FOREIGN)
    rows.nth(6).get_by_role("link").first.click()
    drawn(page, DAYS[5])
    page.locator("g.coin[data-coin=BTCUSDT]").click()
    expect(page.get_by_role("region", name="The path of BTCUSDT")).to_be_visible()
    page.get_by_role("link", name="Choose no coin").click()
    expect(page.get_by_role("region", name="The path of")).to_have_count(0)


def test_metrics_over_time_are_drawn_and_told(built: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(built), "/graphs/six")
    drawn(page, DAYS[-1])
    told = built.api.get("/graphs/six/snapshots").json()["snapshots"]
    section = page.get_by_role("region", name="Over time")
    expect(section.get_by_role("figure")).to_have_count(3)
    expect(section.get_by_role("figure").first).to_contain_text(str(told[-1]["edges"]))
    section.get_by_text("Snapshots as a table").click()
    cells = section.get_by_role("row").nth(2).get_by_role("cell")
    expect(cells).to_have_text(
        ["6", str(told[1]["edges"]), f"{told[1]['tree_length']:.3g}", f"{told[1]['turnover']:.3g}"]
    )
    section.get_by_role("row").nth(2).get_by_role("link").click()
    drawn(page, DAYS[1])


def test_directions_count_where_one_coin_leads_another(built: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(built), "/graphs/leads")
    drawn(page, DAYS[-1])
    expect(page.get_by_text("Lead and lag: correlation of 24 returns of 1h")).to_be_visible()
    expect(page.locator("figure > svg line[marker-end]")).to_have_count(moment(built, DAYS[-1], "leads")["edges"])
    expect(page.get_by_text("Arrows lead from the coin that leads")).to_be_visible()


def test_of_many_edges_the_largest_are_drawn_and_that_is_said(built: rig.Manager, opened: Opened) -> None:
    def many(body: rig.Json) -> None:
        names = [f"C{place:02}USDT" for place in range(40)]
        ends = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
        links = [
            {"source": one, "target": other, "weight": 0.9 - place / 1000} for place, (one, other) in enumerate(ends)
        ]
        body.update(nodes=[{"symbol": one, "values": {}} for one in names], links=links, edges=5000, coins=40)

    page = opened(url_of(built), "/nothing")
    replaced(page, "**/graphs/six/at/*", many)
    page.goto(f"{url_of(built)}/ui/graphs/six")
    expect(page.get_by_text("Drawn are the 400 pairs that are joined most strongly")).to_be_visible()
    expect(page.locator("figure > svg line.edge")).to_have_count(400)
    expect(page.get_by_role("heading", name="The largest 780 of 5,000 edges")).to_be_visible()
    pages = page.get_by_role("navigation", name="Edges")
    pages.get_by_role("button", name="Next").click()
    expect(pages).to_contain_text("Page 2 of 39")
    page.reload()
    expect(pages).to_contain_text("Page 2 of 39")


def queue_of(manager: rig.Manager, graph: str) -> str:
    """The workflow that has made the graph."""
    return str(manager.api.get(f"/graphs/{graph}").raise_for_status().json()["queue_id"])


def test_its_workflow_shows_what_the_graph_is_made_of_and_where_it_is_written(
    built: rig.Manager, opened: Opened
) -> None:
    queue_id = queue_of(built, "six")
    known = built.api.get(f"/queues/{queue_id}").raise_for_status().json()
    page = opened(url_of(built), f"/workflows/{queue_id}")
    expect(
        page.get_by_role("list", name="From the series to what is made of them").get_by_role("listitem")
    ).to_have_text(
        [
            re.compile(r"6 series of api_candles_1h\s+proven"),
            re.compile(r"graph-builder\s*finished\s*100%"),
            re.compile(r"graph six\s+collections six_nodes, six_edges, six_snapshots\s+objects below graphs/six/"),
        ]
    )
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text("6 of 6 snapshots")
    expect(facts.get_by_text("Collection", exact=True)).to_have_count(0)
    for coin in COINS:
        link = facts.get_by_role("link", name=coin, exact=True)
        expect(link).to_have_attribute("href", f"/ui/series/{quote(coin)}/api_candles_1h")
    expect(facts.get_by_role("link", name=known["made_of"]["batch"])).to_be_visible()
    for table in ("Attempts on a time axis", "Events"):
        head = page.get_by_role("table", name=table).get_by_role("columnheader")
        expect(head.filter(has_text="Records")).to_have_count(0)
        expect(head.filter(has_text="Progress")).to_have_count(1)
    expect(page.get_by_role("region", name="Plan")).to_contain_text("It loads nothing: it is made of what is stored.")
    expect(page.get_by_role("heading", name="Coverage")).to_have_count(0)
    page.get_by_role("link", name="graph six").click()
    expect(page).to_have_url(re.compile("/ui/graphs/six$"))


def test_what_is_copied_of_its_workflow_asks_for_it_and_no_action_is_offered_that_is_refused(
    built: rig.Manager, opened: Opened
) -> None:
    queue_id = queue_of(built, "six")
    page = opened(url_of(built), f"/workflows/{queue_id}")
    copied = page.get_by_role("region", name="Copy as")
    python = copied.locator("code").nth(3)
    expect(python).to_contain_text(f'"{url_of(built)}/queues/{queue_id}"')
    given: dict[str, rig.Json] = {}
    exec(str(python.text_content()).replace("json.load(", "answer = json.load(", 1), given)
    assert given["answer"]["graph"] == "six"
    expect(copied.locator("code").nth(1)).to_have_text(f"streamforge show {queue_id} --server {url_of(built)}")
    assert built.api.get(f"/queues/{queue_id}/request").status_code == 409
    again = page.get_by_role("button", name="Start one like this")
    expect(again).to_have_attribute("aria-disabled", "true")
    expect(again).to_have_accessible_description(re.compile("streamforge graph build, or POST /graphs"))
    again.click(force=True)
    expect(page).to_have_url(re.compile(f"/workflows/{queue_id}$"))
    assert built.api.delete(f"/queues/{queue_id}", params={"data": "true"}).status_code == 422
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("checkbox", name="Delete its records")).to_have_count(0)


def test_a_graph_whose_series_are_not_proven_says_so_and_has_no_link(built: rig.Manager, opened: Opened) -> None:
    asked = SIX | {"graph": "lacking", "time_range": "2024-09-03:2024-09-09", "load_missing": False}
    queue_id = built.api.post("/graphs", json=asked).raise_for_status().json()["queue_id"]
    page = opened(url_of(built), f"/workflows/{queue_id}")
    expect(page.get_by_text("It failed")).to_be_visible()
    items = page.get_by_role("list", name="From the series to what is made of them").get_by_role("listitem")
    expect(items.first).to_contain_text("not proven yet")
    expect(items.last).to_contain_text("graph lacking")
    expect(items.get_by_role("link")).to_have_count(0)
    page.get_by_role("link", name="All workflows").click()
    row = page.get_by_role("row").filter(has_text="SIX")
    expect(row.get_by_role("cell").filter(has_text="6 of 6 snapshots")).to_be_visible()


def test_keyboard_alone(built: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(built))
    seen(page, "Workflows")
    keys = page.keyboard
    keys.press("g")
    keys.press("r")
    seen(page, "Graphs")
    expect(page.locator("[data-row]")).to_have_count(2)
    keys.press("j")
    keys.press("Enter")
    expect(page.get_by_role("slider")).to_be_visible()
    drawn(page, DAYS[-1])
    slider = page.get_by_role("slider")
    slider.focus()
    keys.press("PageDown")
    drawn(page, DAYS[-2])
    expect(slider).to_be_focused()
    expect(slider).to_have_attribute("aria-valuetext", "2024-08-07 00:00:00, UTC, snapshot 5 of 6")
    keys.press("j")
    keys.press("Enter")
    expect(page.get_by_role("region", name="The path of")).to_be_visible()


def test_what_comes_from_elsewhere_is_text(built: rig.Manager, opened: Opened) -> None:
    def listed(body: rig.Json) -> None:
        body["graphs"][0].update(graph=HOSTILE, type=HOSTILE, queue_id=HOSTILE, definition={"window": HOSTILE})

    def shown(body: rig.Json) -> None:
        body["nodes"][0].update(symbol=HOSTILE, values={HOSTILE: 1.5})
        body["links"][0].update(source=HOSTILE)

    page = opened(url_of(built), "/nothing")
    replaced(page, "**/graphs?*", listed)
    replaced(page, "**/graphs/six/at/*", shown)
    page.goto(f"{url_of(built)}/ui/graphs")
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    coin = HOSTILE.partition("<script>")[0]
    page.goto(f"{url_of(built)}/ui/graphs/six?coin={quote(coin)}")
    expect(page.get_by_role("table", name="Coins")).to_contain_text(HOSTILE)
    page.get_by_label("Only those of").uncheck()
    expect(page.get_by_role("table", name="Edges")).to_contain_text(HOSTILE)
    expect(page.get_by_role("alert")).to_contain_text("no stored snapshot of graph six has a coin <img")
    assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    built: rig.Manager, opened: Opened, theme: str, language: str
) -> None:
    page = opened(url_of(built), "/graphs", theme=theme, language=language, width=390)
    there = {
        "": "[data-row]",
        "/six?coin=BTCUSDT": "section[aria-labelledby=path] figure",
        "/leads": "g.coin",
        "/nothing": ".failed",
    }
    for path, seen_first in there.items():
        page.goto(f"{url_of(built)}/ui/graphs{path}")
        expect(page.locator(seen_first).first).to_be_visible()
        if "/six" in path or "/leads" in path:
            expect(page.locator("[aria-busy=false] g.coin")).to_have_count(len(COINS))
            page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        assert violations(page) == []
        assert width_of(page) <= 390
    page.goto(f"{url_of(built)}/ui/workflows/{queue_of(built, 'six')}")
    expect(page.locator("ol.graph a")).to_be_visible()
    assert violations(page) == []
    assert width_of(page) <= 390
