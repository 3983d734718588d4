"""The attention of GATv2 (Brody, Alon and Yahav 2022) over as many neighbours of each coin, in plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamforge.analytics.models.dataset import Sample

_SLOPE = 0.2
_TOGETHER = 704
"""Edges whose wide arrays stay in the cache of a processor's core: with more a step takes half as long again."""


class Neighbourhood(NamedTuple):
    """The coins of some moments one below the other.

    features: a row for each coin. neighbours: of each coin as many places of rows; itself first, then those whose
    edges lead to it, then itself again where it has fewer than others. unused: where that is so; None: nowhere.
    """

    features: Tensor
    neighbours: Tensor
    unused: Tensor | None


def neighbourhood(samples: Sequence[Sample], device: torch.device) -> Neighbourhood:
    """Of these moments; edges without a direction lead both ways, and all count the same."""
    ends = list[np.ndarray[tuple[int, int], np.dtype[np.int64]]]()
    first = 0
    for sample in samples:
        pairs = np.stack([sample.edges.sources, sample.edges.targets]).astype(np.int64) + first
        ends += [pairs] if sample.directed else [pairs, pairs[::-1]]
        first += len(sample.symbols)
    sources, targets = np.concatenate(ends, axis=1)
    order = np.argsort(targets, kind="stable")
    sources, targets = sources[order], targets[order]
    degrees = np.bincount(targets, minlength=first)
    ranks = np.arange(len(targets)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    width = 1 + int(degrees.max(initial=0))
    places = np.repeat(np.arange(first)[:, None], width, axis=1)
    places[targets, 1 + ranks] = sources
    unused = np.arange(width)[None, :] > degrees[:, None]
    features = np.concatenate([sample.features for sample in samples]).astype(np.float32)
    return Neighbourhood(
        torch.from_numpy(features).to(device),
        torch.from_numpy(places).to(device),
        torch.from_numpy(unused).to(device) if unused.any() else None,
    )


class Attention(NamedTuple):
    """The parameters of a layer: of all heads beside each other, each `width` columns wide.

    left: of a neighbour. right: of the coin itself. own: of the coin past the attention. score: a row for each head.
    """

    left: Tensor
    right: Tensor
    own: Tensor
    score: Tensor
    bias: Tensor

    def __call__(self, inputs: Tensor, neighbours: Tensor, unused: Tensor | None) -> Tensor:
        """A row for each coin: the means of its neighbours by their attention, and what is its own."""
        left = inputs @ self.left
        own = torch.addmm(self.bias, inputs, self.own)
        if neighbours.shape[1] == 1:  # all of the attention is its own
            return left + own
        return own + _Heard.apply(left, inputs @ self.right, self.score, neighbours, unused)


class _Heard(torch.autograd.Function):
    """Of each coin the mean of `left` of its neighbours by their attention.

    Written with its own derivative, which takes a third of the time of the one that torch finds: some coins after the
    others, products of wide arrays are made in place, and those over a head are products of matrices.
    """

    @staticmethod
    def forward(
        context: Any, left: Tensor, right: Tensor, score: Tensor, neighbours: Tensor, unused: Tensor | None
    ) -> Tensor:
        coins, count = neighbours.shape
        heads, width = score.shape
        of_head = torch.block_diag(*torch.ones(heads, 1, width, device=score.device))
        by_head = of_head.T * score.reshape(-1, 1)
        kept, found = list[Tensor](), torch.empty_like(right)
        together = max(1, _TOGETHER // count) if left.device.type == "cpu" else coins
        for first in range(0, coins, together):
            some = slice(first, first + together)
            places = neighbours[some].reshape(-1)
            picked = left.index_select(0, places)
            active = (picked.view(-1, count, heads * width) + right[some, None]).view(-1, heads * width)
            active = torch.nn.functional.leaky_relu_(active, _SLOPE)
            scores = (active @ by_head).view(-1, count, heads)
            if unused is not None:
                scores = scores.masked_fill_(unused[some, :, None], -torch.inf)
            shares = torch.softmax(scores, dim=1)
            wide = shares.view(-1, heads) @ of_head
            torch.sum((picked * wide).view(-1, count, heads * width), 1, out=found[some])
            kept += [places, picked, active, shares, wide]
        context.save_for_backward(*kept, of_head, by_head)
        return found

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *kept, of_head, by_head = context.saved_tensors
        whole = gradients[0]
        of_right, of_left, of_score = torch.empty_like(whole), torch.zeros_like(whole), torch.zeros_like(by_head)
        first = 0
        for places, picked, active, shares, wide in zip(*[iter(kept)] * 5, strict=True):
            coins, count, heads = shares.shape
            some = slice(first, first + coins)
            first += coins
            given = whole[some, None]
            of_picked = picked.view(coins, count, -1).mul_(given).view(coins * count, -1)
            of_shares = (of_picked @ of_head.T).view(coins, count, heads)
            of_scores = (shares * (of_shares - (shares * of_shares).sum(1, keepdim=True))).view(-1, heads)
            # The sign of what was active is that of what it was made of.
            of_both = torch.ops.aten.leaky_relu_backward(of_scores @ by_head.T, active, _SLOPE, True)
            torch.sum(of_both.view(coins, count, -1), 1, out=of_right[some])
            of_places = wide.view(coins, count, -1).mul_(given).view(coins * count, -1).add_(of_both)
            of_left.index_add_(0, places, of_places)
            of_score.addmm_(active.T, of_scores)
        return of_left, of_right, (of_score * of_head.T).sum(1).view(shares.shape[2], -1), None, None
