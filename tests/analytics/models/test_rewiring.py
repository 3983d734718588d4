"""Shuffled and random edges: what stays the same, and that the rest does not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from streamforge.analytics.graphs.selection import Edges
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.rewiring import Rewiring, rewired


def sample(coins: int, share: float, directed: bool, seed: int = 1) -> Sample:
    generator = np.random.default_rng(seed)
    chosen = generator.random((coins, coins)) < share * generator.random(coins)
    np.fill_diagonal(chosen, False)
    sources, targets = np.nonzero(chosen if directed else np.triu(chosen))
    weights = generator.permutation(len(sources))
    edges = Edges(*(part.astype(np.int32) for part in (sources, targets, weights)))
    zeros = np.zeros(coins)
    return Sample(1, tuple(f"C{at:03}" for at in range(coins)), zeros[:, None], edges, directed, zeros, zeros)


def pairs(edges: Edges) -> set[tuple[int, int]]:
    return {*zip(edges.sources.tolist(), edges.targets.tolist(), strict=True)}


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize(("coins", "share"), [(40, 0.2), (40, 1.0), (12, 0.5), (4, 2.0), (2, 2.0), (1, 1.0), (0, 1.0)])
def test_edges_of_another_graph_are_as_many_and_no_pair_comes_twice(coins: int, share: float, directed: bool) -> None:
    before = sample(coins, share, directed)
    for rewiring in (Rewiring.SHUFFLED, Rewiring.RANDOM):
        after = rewired(before, rewiring, 3).edges
        assert len(pairs(after)) == len(after.sources) == len(before.edges.sources)
        assert all(source != target if directed else source < target for source, target in pairs(after))
        assert [*zip(after.sources, after.targets, strict=True)] == sorted(pairs(after))
        assert sorted(after.weights) == sorted(before.edges.weights)
        assert {part.dtype for part in after} == {np.dtype(np.int32)}
        if len(after.sources) > 60 and share < 1:
            assert len(pairs(after) & pairs(before.edges)) < 0.5 * len(after.sources)
        if rewiring is Rewiring.SHUFFLED and directed:
            for end in (0, 1):
                assert Counter(after[end].tolist()) == Counter(before.edges[end].tolist())
        elif rewiring is Rewiring.SHUFFLED:
            degrees = [Counter([*edges.sources.tolist(), *edges.targets.tolist()]) for edges in (after, before.edges)]
            assert degrees[0] == degrees[1]


def test_pairs_without_a_direction_are_swapped_either_way() -> None:
    edges = Edges(*(np.array(part, dtype=np.int32) for part in ([0, 1], [2, 3], [5, 6])))
    before = sample(4, 0, False)._replace(edges=edges)
    found = {frozenset(pairs(rewired(before, Rewiring.SHUFFLED, seed).edges)) for seed in range(40)}
    assert found == {frozenset({(0, 1), (2, 3)}), frozenset({(0, 2), (1, 3)}), frozenset({(0, 3), (1, 2)})}


def test_edges_depend_on_the_seed_and_the_moment_alone() -> None:
    before = sample(30, 0.3, True)
    for rewiring in (Rewiring.SHUFFLED, Rewiring.RANDOM):
        first = pairs(rewired(before, rewiring, 3).edges)
        assert first == pairs(rewired(before, rewiring, 3).edges)
        assert first != pairs(rewired(before, rewiring, 4).edges)
        assert first != pairs(rewired(before._replace(time_ms=2), rewiring, 3).edges)
    assert rewired(before, Rewiring.GRAPH, 3) is before
    assert not len(rewired(before, Rewiring.NONE, 3).edges.sources)
