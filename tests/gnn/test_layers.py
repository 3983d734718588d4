"""The attention is that of PyTorch Geometric's GATv2Conv, on every kind of edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATv2Conv

from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.rewiring import Rewiring, rewired
from streamforge.analytics.networks import layers
from streamforge.analytics.networks.layers import Attention, neighbourhood
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of

CPU = torch.device("cpu")


def edge_index(samples: list[Sample]) -> torch.Tensor:
    """Of all moments in one graph, in the form of PyTorch Geometric."""
    ends = []
    for number, sample in enumerate(samples):
        pairs = np.stack([sample.edges.sources, sample.edges.targets]).astype(np.int64) + 10 * number
        ends += [pairs] if sample.directed else [pairs, pairs[::-1]]
    return torch.from_numpy(np.concatenate(ends, axis=1))


@pytest.mark.parametrize("together", [704, 40], ids=["at-once", "in-pieces"])
@pytest.mark.parametrize("rewiring", Rewiring)
@pytest.mark.parametrize("choice", [{"top_k": 3}, {"top_k": None, "mst": True}, {"top_k": None, "threshold": 0.5}])
def test_outputs_and_gradients_are_those_of_gatv2conv(
    choice: dict[str, Any], rewiring: Rewiring, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_TOGETHER", together)
    market = dataset_of(panel_of(moves(50, 10, 1)), definition(**choice)).samples[:3]
    samples = [rewired(sample, rewiring, 0) for sample in market]
    torch.manual_seed(1)
    theirs = GATv2Conv(4, 16, heads=4, residual=True)
    with torch.no_grad():
        theirs.lin_l.bias.zero_()
        theirs.lin_r.bias.zero_()
        theirs.bias.copy_(torch.randn(64))
    weights = (theirs.lin_l.weight, theirs.lin_r.weight, theirs.res.weight)
    own = [weight.detach().T.clone().requires_grad_() for weight in weights]
    score = theirs.att.detach()[0].clone().requires_grad_()
    given = neighbourhood(samples, CPU)
    found = Attention(*[*own, score, theirs.bias.detach()])(given.features, given.neighbours, given.unused)
    expected = theirs(given.features, edge_index(samples))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (found**2).sum().backward()
    (expected**2).sum().backward()
    alone = rewiring is Rewiring.NONE
    for one, other in zip(
        [own[0], own[2]] if alone else own, [weights[0], weights[2]] if alone else weights, strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad.T, atol=1e-3, rtol=1e-4)
    if not alone:
        torch.testing.assert_close(score.grad, theirs.att.grad[0], atol=1e-3, rtol=1e-4)
