"""The card as a page: all of it is there, nothing of it is run, and equal cards have equal pages."""

from __future__ import annotations

from functools import cache
from xml.etree import ElementTree

import msgspec
import pytest

from streamforge.analytics.models.baselines import baselines
from streamforge.analytics.models.card import Card, TrainingNote, markdown
from streamforge.analytics.models.card_html import html
from streamforge.analytics.models.evaluation import evaluated
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.neighbour_mean import neighbour_means_on_graph
from tests.analytics.models.markets import dataset_of, moves, panel_of

HOSTILE = "<script>alert(1)</script>\"'&"


@cache
def card() -> Card:
    panel = panel_of(moves(140, 10, 1, own=0.4))
    dataset = dataset_of(panel)
    ladder = [*baselines(dataset.definition.graph), *neighbour_means_on_graph()]
    settings = EvaluationSettings(folds=FoldRules(test=30, least_train=30), top=2, seeds=(0, 1))
    note = TrainingNote(
        name="daily", model="neighbour_mean", settings="s", device="cpu", threads=1, versions={"numpy": "2"}
    )
    return msgspec.structs.replace(evaluated(dataset, panel, ladder, settings)[0], training=note)


def _tree(page: str) -> ElementTree.Element:
    """The page is also well-formed XML, but for its first line and its one empty element."""
    return ElementTree.fromstring(page.removeprefix("<!doctype html>\n").replace('"utf-8">', '"utf-8"/>'))


def test_the_page_has_the_verdict_every_model_and_a_picture_of_each_part() -> None:
    page = html(card())
    root = _tree(page)
    assert root.findtext(".//h1") == f"daily: {card().verdict.outcome.value}"
    assert "Compared after fees with ridge; LightGBM was not run." in page
    verdict = msgspec.structs.replace(card().verdict, rival="lightgbm")
    assert "Compared after fees with lightgbm.</p>" in html(msgspec.structs.replace(card(), verdict=verdict))
    assert len(root.findall(".//svg")) == 4
    cells = [one.text for one in root.findall(".//td")]
    assert {one.model for one in card().scores} | {one.switch for one in card().switchboard} <= {*cells}
    lines = root.findall(".//polyline")
    assert [len((one.get("points") or "").split()) for one in lines] == [len(card().series.times_ms)] * len(lines)
    assert "–" in cells
    assert "so that there is no ICIR and no t" in page
    assert "on cpu, threads 1; numpy 2" in page
    assert "on cpu, threads 1; numpy 2" in markdown(card())


def test_equal_cards_have_equal_pages() -> None:
    again = msgspec.json.decode(msgspec.json.encode(card()), type=Card)
    assert html(again) == html(card())


@pytest.mark.parametrize("field", ["name", "model", "settings", "device"])
def test_names_that_are_markup_stay_text(field: str) -> None:
    note = card().training
    assert note is not None
    page = html(msgspec.structs.replace(card(), training=msgspec.structs.replace(note, **{field: HOSTILE})))
    assert "<script" not in page
    assert HOSTILE in "".join(_tree(page).itertext())


def test_the_series_end_where_the_last_target_ends_and_begin_at_one() -> None:
    found, own = card(), card().series
    assert own.times_ms[-1] == found.last_ms + found.dataset.span_ms
    assert own.times_ms == sorted({*own.times_ms})
    assert len(own.times_ms) <= 301
    assert own.months == sorted({*own.months})
    zero = next(one for one in own.models if one.model == "zero")
    assert {*zero.equity} == {1.0}
    assert {*zero.rank_ic} == {0.0}
    for one in own.models:
        score = [score for score in found.scores if score.model == one.model]
        known = [value for value in one.rank_ic if value is not None]
        assert min(known) - 1e-6 <= sum(s.rank_ic for s in score) / len(score) <= max(known) + 1e-6
