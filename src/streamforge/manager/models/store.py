"""What is known of a model."""

from __future__ import annotations

import msgspec

KIND = "model"


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was last published. manifest: the name of the object. kind: of the model on the graph.

    symbols: how many series it is of. start_ms, end_ms: the half-open range of its moments. moments: that were tested.
    outcome, signal, rank_ic, sharpe_net: of its card. made_ms: when it was found whole. scored_ms: all moments before
    it that came after the training have scores; 0: none has.
    """

    name: str
    queue_id: str
    run_id: str
    kind: str
    manifest: str
    type: str
    symbols: int
    start_ms: int
    end_ms: int
    moments: int
    outcome: str
    signal: bool
    rank_ic: float
    sharpe_net: float
    made_ms: int
    scored_ms: int = 0
