"""The screens of models in a browser, before a real manager whose gnn-trainer has published one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import rig
from tests.places import ROOT
from tests.ui.conftest import LOOKS, Opened, width_of
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
