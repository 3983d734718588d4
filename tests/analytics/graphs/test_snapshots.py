"""Snapshots compared with plain computations: who takes part, and which pairs are edges."""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import Any

import numpy as np
import pytest

from streamforge.analytics.graphs.associations import UNITS
from streamforge.analytics.graphs.definition import GraphDefinition, read_definition
from streamforge.analytics.graphs.measures import coin_measures, tree_length
from streamforge.analytics.graphs.panel import Bars, Panel
from streamforge.analytics.graphs.selection import Edges, edges_of, planar_graph, spanning_tree
from streamforge.analytics.graphs.snapshot import Snapshot, SnapshotBuilder
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.graphs.random_markets import DAY_MS, HOUR_MS, START_MS
from tests.analytics.graphs.returns import definition, moves, units

HOURS = 100


def panel(closes: dict[str, list[float | None]], volumes: float = 1e6) -> Panel:
    found = {}
    for symbol, prices in closes.items():
        there = [(START_MS + at * HOUR_MS, price) for at, price in enumerate(prices) if price is not None]
        found[symbol] = Bars([time for time, _ in there], [price for _, price in there], [volumes] * len(there))
    rows = max(len(prices) for prices in closes.values())
    return Panel.of(found, start_ms=START_MS, end_ms=START_MS + rows * HOUR_MS, bar_ms=HOUR_MS)


def prices(coins: int = 5, rows: int = HOURS, seed: int = 3) -> dict[str, list[float | None]]:
    drawn = 100 * np.exp(np.cumsum(moves(coins, rows, seed), axis=0))
    return {f"C{number}": drawn[:, number].tolist() for number in range(coins)}


def snapshot(made: GraphDefinition, bars: Panel, hours: int = 96) -> Snapshot:
    (found,) = SnapshotBuilder(made).series(bars, [START_MS + hours * HOUR_MS])
    return found


# Edges


def drawn_sizes(random: Random, count: int, *, ties: bool) -> np.ndarray[Any, np.dtype[np.int32]]:
    top = 5 if ties else UNITS
    found = np.zeros((count, count), dtype=np.int32)
    for i, j in combinations(range(count), 2):
        found[i, j] = found[j, i] = random.randint(-top, top)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_of_each_coin_the_largest_are_edges_to_it(seed: int) -> None:
    random = Random(seed)
    count, k = random.randint(1, 12), random.randint(1, 5)
    weights = drawn_sizes(random, count, ties=seed % 2 == 0)
    found = edges_of(definition(top_k=k, sign="any"), weights)
    expected = set()
    for target in range(count):
        others = sorted((-abs(int(weights[one, target])), one) for one in range(count) if weights[one, target])
        expected |= {(one, target) for _, one in others[:k]}
    assert {*zip(found.sources.tolist(), found.targets.tolist(), strict=True)} == expected
    assert [*zip(found.targets, found.sources, strict=True)] == sorted((j, i) for i, j in expected)
    assert (found.weights == weights[found.sources, found.targets]).all()


@pytest.mark.parametrize("seed", range(40))
def test_the_tree_is_the_largest_that_can_be(seed: int) -> None:
    random = Random(seed)
    count = random.randint(2, 12)
    sizes = drawn_sizes(random, count, ties=seed % 2 == 0)
    root = [*range(count)]

    def find(one: int) -> int:
        while root[one] != one:
            one = root[one]
        return one

    total, joined = 0, 0
    for size, i, j in sorted(((int(sizes[i, j]), i, j) for i, j in combinations(range(count), 2)), reverse=True):
        if size > 0 and find(i) != find(j):  # Kruskal
            root[find(i)] = find(j)
            total, joined = total + size, joined + 1
    sources, targets = spanning_tree(sizes)
    assert (int(sizes[sources, targets].sum()), len(sources)) == (total, joined)
    assert (sources < targets).all()


@pytest.mark.parametrize("seed", range(40))
def test_the_planar_graph_takes_what_gains_most(seed: int) -> None:
    random = Random(seed)
    count = random.randint(1, 14)
    sizes = np.abs(drawn_sizes(random, count, ties=seed % 2 == 0))
    np.copyto(sizes, 1, where=(sizes == 0) & ~np.eye(count, dtype=bool))
    sources, targets = planar_graph(sizes)
    found = {*zip(sources.tolist(), targets.tolist(), strict=True)}
    assert found == _planar(sizes)
    assert len(found) == (3 * count - 6 if count > 3 else count * (count - 1) // 2)


def _planar(sizes: np.ndarray[Any, np.dtype[np.int32]]) -> set[tuple[int, int]]:
    """The same by trying all coins in all triangles."""
    count = len(sizes)
    if count < 4:
        return {*combinations(range(count), 2)}
    mean = sizes.sum() / count**2
    strength = [sum(int(size) for size in sizes[one] if size > mean) for one in range(count)]
    first = sorted(sorted(range(count), key=lambda one: (-strength[one], one))[:4])
    pairs = {*combinations(first, 2)}
    triangles = [*combinations(first, 3)]
    left = [one for one in range(count) if one not in first]
    while left:
        gains = {
            (-sum(int(sizes[one, corner]) for corner in triangle), one, place): triangle
            for one in left
            for place, triangle in enumerate(triangles)
        }
        best = min(gains)
        one, triangle = best[1], gains[best]
        pairs |= {(min(one, corner), max(one, corner)) for corner in triangle}
        triangles[best[2]] = (-1, -1, -1)
        triangles = [each for each in triangles if each != (-1, -1, -1)] + [
            (*(corner for corner in triangle if corner != out), one)  # type: ignore[misc]
            for out in reversed(triangle)
        ]
        left.remove(one)
    return pairs


def test_a_threshold_and_a_sign_choose_pairs_once_and_zero_is_none() -> None:
    weights = units(np.array([[np.nan, 0.5, -0.5], [0.5, np.nan, 0.2], [-0.5, 0.2, np.nan]]))
    assert _pairs(edges_of(definition(threshold=0.5), weights)) == {(0, 1): 500_000}
    assert _pairs(edges_of(definition(threshold=0, sign="negative"), weights)) == {(0, 2): -500_000}
    assert _pairs(edges_of(definition(threshold=0.2, sign="any"), weights)) == {
        (0, 1): 500_000,
        (0, 2): -500_000,
        (1, 2): 200_000,
    }


def _pairs(edges: Edges) -> dict[tuple[int, int], int]:
    return {(int(i), int(j)): int(weight) for i, j, weight in zip(*edges, strict=True)}


# Measures


def test_measures_of_a_triangle_with_a_tail() -> None:
    ends = [(0, 1), (0, 2), (1, 2), (2, 3)]
    edges = Edges(*(np.array(column, dtype=np.int32) for column in (*zip(*ends, strict=True), [UNITS // 2] * 4)))
    found = coin_measures(edges, 5)
    assert found.degree.tolist() == [2, 2, 3, 1, 0]
    assert found.strength.tolist() == [UNITS, UNITS, 3 * UNITS // 2, UNITS // 2, 0]
    assert found.clustering.tolist() == pytest.approx([1, 1, 1 / 3, 0, 0])
    assert found.pagerank.sum() == pytest.approx(1)
    assert found.pagerank.argmax() == 2
    assert found.pagerank.argmin() == 4


def test_the_length_of_the_tree_is_that_of_the_distances() -> None:
    weights = units(np.array([[np.nan, 0.5, -1.0], [0.5, np.nan, 0.0], [-1.0, 0.0, np.nan]]))
    known = ~np.eye(3, dtype=bool)
    assert tree_length(weights, known) == tree_length(weights, None) == pytest.approx(1e6 * (1 + 2**0.5), abs=1)
    known[2] = known[:, 2] = False
    assert tree_length(weights, known) == pytest.approx(1e6, abs=1), "of the coins that are associated with any"
    known[:] = False
    assert tree_length(weights, known) is None


def test_coins_that_no_tree_joins_have_no_length() -> None:
    weights = np.full((4, 4), UNITS // 2, dtype=np.int32)
    known = np.kron(np.eye(2, dtype=bool), ~np.eye(2, dtype=bool))
    assert tree_length(weights, known) is None
    known[1, 2] = known[2, 1] = True
    assert tree_length(weights, known) == 3 * UNITS


# Snapshots


def test_a_snapshot_of_the_order_and_company_of_coins_that_are_not_in_it() -> None:
    given = prices()
    made = definition(top_k=2, features=["return_24", "volatility_24", "volume_24"])
    one = snapshot(made, panel(given))
    other = snapshot(made, panel({**dict(reversed(given.items())), "A0": [None] * HOURS}))
    assert one.sha256 == other.sha256
    assert one.symbols == ("C0", "C1", "C2", "C3", "C4")


def test_features_are_of_the_last_closed_bars() -> None:
    given = prices()
    made = definition(features=["return_24", "volatility_12", "volume_5"])
    found = snapshot(made, panel(given))
    closes = np.array([given[symbol] for symbol in found.symbols], dtype=float)
    last = np.log(closes[:, 95] / closes[:, 71])
    np.testing.assert_allclose(found.features[:, 0], last, rtol=1e-6)
    np.testing.assert_allclose(
        found.features[:, 1], np.diff(np.log(closes[:, 83:96]), axis=1).std(axis=1, ddof=1), rtol=1e-6
    )
    assert found.features[:, 2].tolist() == [1e6] * 5


def test_a_coin_leaves_with_the_snapshot_after_its_last_bar() -> None:
    given = prices()
    given["C1"][91:] = [None] * 9
    made = definition(step=1)
    found = {
        one.time_ms: one.symbols
        for one in SnapshotBuilder(made).series(panel(given), [START_MS + hour * HOUR_MS for hour in (90, 91, 92, 93)])
    }
    there = [START_MS + hour * HOUR_MS in found and "C1" in found[START_MS + hour * HOUR_MS] for hour in (90, 91, 92)]
    assert there == [True, True, False]


def test_when_nobody_has_bars_coins_stay_until_one_has() -> None:
    given: dict[str, list[float | None]] = {
        symbol: [None if at in (93, 94, 95) else price for at, price in enumerate(closes)]
        for symbol, closes in prices().items()
    }
    assert len(snapshot(definition(), panel(given)).symbols) == 5
    given["C2"][92] = None
    assert "C2" not in snapshot(definition(), panel(given)).symbols


def test_coins_are_chosen_by_what_was_traded_and_by_how_much_they_move() -> None:
    steady: list[float | None] = [1 + 0.0001 * (at % 2) for at in range(HOURS)]
    bars = {**prices(), "USDC": steady}
    found = snapshot(definition(universe={"min_volatility": 0.001}), panel(bars))
    assert "USDC" not in found.symbols
    amounts = {symbol: 10.0**number for number, symbol in enumerate(sorted(bars))}
    made = Panel.of(
        {
            symbol: Bars(
                [START_MS + at * HOUR_MS for at in range(HOURS)],
                [float(price or 0) for price in closes],
                [amounts[symbol]] * HOURS,
            )
            for symbol, closes in bars.items()
        },
        start_ms=START_MS,
        end_ms=START_MS + HOURS * HOUR_MS,
        bar_ms=HOUR_MS,
    )
    rules: dict[str, float] = {"largest": 2, "volume_days": 3, "min_volatility": 0}
    assert snapshot(definition(universe=rules), made).symbols == ("C4", "USDC")
    rules = {"min_quote_volume": 24 * 1000, "volume_days": 3, "min_volatility": 1e-3}
    assert snapshot(definition(universe=rules), made).symbols == ("C3", "C4")


def test_turnover_is_the_share_of_edges_of_one_of_two_snapshots_alone() -> None:
    given = panel(prices())
    made = definition(top_k=1, step=24)
    times = [START_MS + hour * HOUR_MS for hour in (48, 72, 96)]
    shots = [*SnapshotBuilder(made).series(given, times)]
    edges = [{*zip(one.edges.sources.tolist(), one.edges.targets.tolist(), strict=True)} for one in shots]
    for before, now, shot in zip(edges, edges[1:], shots[1:], strict=False):
        assert shot.turnover == pytest.approx(1 - len(before & now) / len(before | now))
    (alone,) = SnapshotBuilder(made).series(given, times[2:])
    assert alone.sha256 == shots[2].sha256, "begun later it is the same"


def test_a_snapshot_is_the_same_alone_and_in_a_series_whichever_it_began_with() -> None:
    given = prices(rows=160)
    given["C1"][:70] = [None] * 70
    made = definition(top_k=2, step=1, window=60, min_overlap=0.5)
    times = [START_MS + hour * HOUR_MS for hour in range(62, 160)]
    series = [one.sha256 for one in SnapshotBuilder(made).series(panel(given), times)]
    assert len({*series}) == len(times)
    for first in range(len(times)):
        assert series[first] == next(SnapshotBuilder(made).series(panel(given), times[first:])).sha256


@pytest.mark.parametrize("coins", [0, 1, 2])
@pytest.mark.parametrize("choice", [{"top_k": 3}, {"threshold": 0.1}, {"mst": True}, {"tmfg": True}])
def test_few_coins_make_small_graphs(coins: int, choice: dict[str, Any]) -> None:
    given = dict([*prices().items()][:coins]) or {"C0": [None] * HOURS}
    found = snapshot(definition(sign="any", **choice), panel(given))
    assert len(found.symbols) == coins
    assert len(found.edges.sources) <= 2


# What is refused


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"interval": "1M"}, "interval"),
        ({"interval": "7m"}, "interval"),
        ({"threshold": 0.3, "top_k": 3}, "top_k"),
        ({"threshold": None}, "top_k"),
        ({"method": "lead_lag"}, "lag"),
        ({"lag": 2}, "lag"),
        ({"method": "lead_lag", "lag": 1, "mst": True}, "method"),
        ({"window": 3}, "window"),
        ({"features": ["rsi_14"]}, "features"),
        ({"features": ["volatility_1"]}, "features"),
        ({"features": ["return_3", "return_3"]}, "features"),
        ({"universe": {"colour": 1}}, "universe"),
        ({"top_n": 3}, "graph"),
    ],
)
def test_a_definition_that_makes_no_graph_names_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        definition(**fields)
    assert refused.value.field == field


def test_a_definition_has_one_identity_however_it_is_spelled() -> None:
    assert definition(interval="60m").id == definition(interval="1h").id
    assert definition(window=41).id != definition().id


@pytest.mark.parametrize(
    ("bars", "reason"),
    [
        (Bars([START_MS + 1], [1.0], [1.0]), "not on the grid"),
        (Bars([START_MS, START_MS], [1.0, 1.0], [1.0, 1.0]), "not after the one before"),
        (Bars([START_MS], [float("nan")], [1.0]), "no price"),
        (Bars([START_MS], [0.0], [1.0]), "no price"),
        (Bars([START_MS], [1.0], [float("inf")]), "no amount"),
    ],
)
def test_bars_that_are_none_are_refused_by_name(bars: Bars, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"BADUSDT: .*{reason}"):
        Panel.of({"BADUSDT": bars}, start_ms=START_MS, end_ms=START_MS + DAY_MS, bar_ms=HOUR_MS)


def test_weeks_begin_on_mondays() -> None:
    times = read_definition({"interval": "1w", "top_k": 1, "step": 1}).snapshot_times(START_MS, START_MS + 15 * DAY_MS)
    assert [*times] == [START_MS, START_MS + 7 * DAY_MS, START_MS + 14 * DAY_MS], "2024-01-01 is a Monday"
