"""The screens of models in a browser, before a real manager whose gnn-trainer has published one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.places import ROOT
from tests.ui.conftest import LOOKS, Opened, replaced, width_of
from tests.ui.test_screens import HOSTILE, seen, url_of, violations

SAMPLE = ROOT / "src" / "streamforge" / "web" / "src" / "lib" / "modelcard.sample.json"


COINS = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"]
OWN = {
    "name": "own",
    "symbols": COINS,
    "type": "api_candles_1h",
    "time_range": "2024-08-08:2024-08-24",
    "definition": {"window": 24, "step": 4, "top_k": 2, "sign": "any", "universe": {"min_volatility": 0}},
    "horizon": 4,
    "seeds": [0, 1],
    "parameters": {"model": "neighbour_mean"},
    "load_missing": True,
}


@pytest.fixture(scope="module")
def alone(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with a model of four coins; another card is given by `answered`."""
    exchange.reset()
    with rig.manager(tmp_path_factory.mktemp("models") / "data", exchange.url) as found:
        found.finished(found.api.post("/models", json=OWN).raise_for_status().json()["queue_id"])
        yield found


def answered(page: Page, card: rig.Json, name: str = "own") -> None:
    """Let the server have this one model."""
    known = {"model": name, "queue_id": "wf-x", "kind": "gat", "type": "api_candles_1d", "symbols": 15}
    told = {"outcome": card["verdict"]["outcome"], "signal": True, "rank_ic": 0.2867, "sharpe_net": 18.47}
    times = {"start": "2024-01-01T00:00:00Z", "end": "2024-07-01T00:00:00Z", "made_at": "2024-08-01T00:00:00Z"}
    page.route("**/models?*", lambda route: route.fulfill(json={"models": [known | told | times]}))
    page.route("**/models/*/card", lambda route: route.fulfill(json=card))


def test_a_model_is_listed_and_its_card_tells_the_verdict_with_its_reasons_first(
    alone: rig.Manager, opened: Opened
) -> None:
    card = alone.api.get("/models/own/card").raise_for_status().json()
    (model,) = alone.api.get("/models").raise_for_status().json()["models"]
    page = opened(url_of(alone))
    seen(page, "Workflows")
    page.keyboard.press("g")
    page.keyboard.press("m")
    seen(page, "Models")
    row = page.get_by_role("row").nth(1)
    outcome = card["verdict"]["outcome"]
    said = f"{outcome[0].upper()}{outcome[1:]}"
    for text in (said, "4 series of api_candles_1h", "[2024-08-08, 2024-08-24)", f"{model['rank_ic']:.4f}".lstrip("-")):
        expect(row).to_contain_text(text)
    expect(page.get_by_role("table", name="Models")).to_match_aria_snapshot("""
        - table "Models":
          - rowgroup:
            - row "Model Verdict Trained on Rank-IC Sharpe after fees Made by"
          - rowgroup:
            - row:
              - cell "own neighbour_mean":
                - link "own"
              - cell /There is (a|no) signal/
              - cell "4 series of api_candles_1h [2024-08-08, 2024-08-24)"
    """)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    seen(page, "own")
    verdict = page.get_by_role("region", name=f"Verdict: {said}")
    expect(verdict.get_by_role("listitem")).to_have_text(card["verdict"]["reasons"])
    expect(verdict).to_contain_text("compared with ridge. LightGBM was not run.")
    models = list(dict.fromkeys(one["model"] for one in card["scores"]))
    ladder = page.get_by_role("table", name="All models").get_by_role("row")
    expect(ladder).to_have_count(1 + len(models))
    graph = next(one for one in card["scores"] if one["model"] == "graph")
    expect(ladder.nth(1 + models.index("graph"))).to_contain_text(
        f"{graph['accuracy']:.3f} ({graph['accuracy_low']:.3f} to {graph['accuracy_high']:.3f})"
    )
    differences = page.get_by_role("table", name="Rank-IC of the graph less that of others").get_by_role("row")
    expect(differences).to_have_count(1 + len(card["verdict"]["differences"]))
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text(f"neighbour_mean, {card['training']['device']}")
    months = page.get_by_role("table", name="Rank-IC of each month")
    page.get_by_text("Rank-IC of each month").first.click()
    expect(months.get_by_role("row")).to_have_count(1 + len(card["series"]["months"]))
    graph_series = next(one for one in card["series"]["models"] if one["model"] == "graph")
    drawn = page.locator("figure").filter(has_text="graph").first
    expect(drawn).to_contain_text(f"{graph_series['equity'][-1]:.3g}; from {min(graph_series['equity']):.3g}")


def workflow_of(manager: rig.Manager) -> str:
    """The one that has trained the model."""
    return str(manager.api.get("/models/own").raise_for_status().json()["queue_id"])


def test_its_workflow_shows_what_the_model_learns_from_and_leads_to_its_card(
    alone: rig.Manager, opened: Opened
) -> None:
    queue_id = workflow_of(alone)
    moments = alone.api.get(f"/queues/{queue_id}").json()["progress"]["records_expected"]
    page = opened(url_of(alone), f"/workflows/{queue_id}")
    steps = page.get_by_role("list", name="From the series to what is made of them")
    expect(steps.get_by_role("listitem")).to_have_text(
        [
            re.compile(r"4 series of api_candles_1h\s+proven"),
            re.compile(r"gnn-trainer\s*finished\s*100%"),
            re.compile(r"model own\s+objects below models/own/"),
        ]
    )
    expect(page.get_by_role("region", name="Facts")).to_contain_text(f"{moments} of {moments} moments")
    again = page.get_by_role("button", name="Start one like this")
    expect(again).to_have_accessible_description(re.compile("streamforge models train, or POST /models"))
    expect(page.get_by_role("region", name="Copy as")).not_to_contain_text("streamforge.load")
    expect(steps.get_by_role("link", name="model own")).to_have_attribute("href", "/ui/models/own")
    page.get_by_role("definition").get_by_role("link", name="own", exact=True).click()
    seen(page, "own")
    expect(page.get_by_role("region", name="Verdict")).to_be_visible()


def test_while_a_model_learns_its_parts_and_epochs_are_told_and_no_records(alone: rig.Manager, opened: Opened) -> None:
    queue_id = workflow_of(alone)
    told = "training: 4 of 9 parts are there; epoch 12 of at most 200 of graph, seed 1, fold 2"

    def running(body: rig.Json) -> None:
        body.update(status="running", ended_at=None)
        body["progress"].update(share=0.4, records_stored=38, rate=4.2)

    def learning(body: rig.Json) -> None:
        running(body)
        (step,) = body["steps"]
        (attempt,) = step["attempts"]
        attempt.update(status="running", ended_at=None)
        for progress in (step["progress"], attempt["progress"]):
            progress.update(records=38, share=0.4, waiting=told)

    def listed(body: rig.Json) -> None:
        running(next(one for one in body["queues"] if one["queue_id"] == queue_id))

    page = opened(url_of(alone), "/nothing")
    replaced(page, f"**/queues/{queue_id}", learning)
    replaced(page, "**/queues?*", listed)
    page.goto(f"{url_of(alone)}/ui/workflows/{queue_id}")
    items = page.get_by_role("list", name="From the series to what is made of them").get_by_role("listitem")
    expect(items.nth(1)).to_have_text(re.compile(rf"40%\s*{re.escape(told)}"))
    expect(items.get_by_role("link")).to_have_count(0)
    expect(page.get_by_role("definition").get_by_role("link", name="own", exact=True)).to_have_count(0)
    attempt = page.get_by_role("table", name="Attempts on a time axis").get_by_role("row").nth(1)
    expect(attempt.get_by_role("cell").last).to_have_text(re.compile(f"(^| · ){re.escape(told)}"))
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text("40%")
    expect(facts).not_to_contain_text("38")
    expect(facts).not_to_contain_text("Records/s")
    page.get_by_role("link", name="All workflows").click()
    row = page.get_by_role("row").filter(has_text="OWN gnn_train")
    expect(row).to_contain_text("40%")
    expect(row).not_to_contain_text("4.2")
    expect(row).not_to_contain_text("38 of")


def test_scores_are_said_to_be_scores_of_their_model(alone: rig.Manager, opened: Opened) -> None:
    asked = {"time_range": "2024-08-24:2024-08-26", "load_missing": True}
    queue_id = alone.api.post("/models/own/scores", json=asked).raise_for_status().json()["queue_id"]
    alone.finished(queue_id)
    page = opened(url_of(alone), f"/workflows/{queue_id}")
    written = page.get_by_role("list", name="From the series to what is made of them").get_by_role("listitem").last
    expect(written).to_have_text(re.compile(r"scores of model own\s+collection own_scores"))
    expect(written.get_by_role("link")).to_have_attribute("href", "/ui/models/own")
    expect(page.get_by_role("region", name="Facts")).to_contain_text("12 of 12 moments")
    again = page.get_by_role("button", name="Start one like this")
    expect(again).to_have_accessible_description(re.compile("streamforge models score"))


def test_what_comes_from_elsewhere_is_text(alone: rig.Manager, opened: Opened) -> None:
    card = json.loads(SAMPLE.read_bytes())
    card["verdict"].update(outcome=HOSTILE, rival=HOSTILE, reasons=[HOSTILE])
    card["scores"][0].update(model=HOSTILE)
    card["switchboard"][0].update(switch=HOSTILE, t=None)
    page = opened(url_of(alone), "/nothing")
    answered(page, card, HOSTILE)
    page.goto(f"{url_of(alone)}/ui/models")
    expect(page.get_by_role("row").nth(1)).to_contain_text(HOSTILE)
    page.goto(f"{url_of(alone)}/ui/models/own")
    for name in ("All models", "Switchboard"):
        expect(page.get_by_role("table", name=name)).to_contain_text(HOSTILE)
    expect(page.get_by_role("listitem")).to_have_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0
    assert "owned" not in page.title()


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    alone: rig.Manager, opened: Opened, theme: str, language: str
) -> None:
    page = opened(url_of(alone), "/nothing", theme=theme, language=language, width=390)
    answered(page, json.loads(SAMPLE.read_bytes()))
    for path, there in {"": "[data-row]", "/own": "section.verdict"}.items():
        page.goto(f"{url_of(alone)}/ui/models{path}")
        expect(page.locator(there).first).to_be_visible()
        assert violations(page) == []
        assert width_of(page) <= 390
