"""How often what a live workflow has stored is compared. Pure."""

from __future__ import annotations

from streamforge.manager.policy import Policy
from streamforge.manager.workflows.live.model import Ledger

_COMPARE_S = 0.1
"""Between the comparisons of two live workflows: ten a second leave time for all else."""


def is_due(ledger: Ledger, now_ms: int, policy: Policy, live_workflows: int) -> bool:
    """Whether a live workflow is to be compared now: the more there are, the less often each is."""
    every_s = max(policy.compare_every_s, live_workflows * _COMPARE_S)
    return ledger.behind or not 0 <= now_ms - ledger.compared_ms < every_s * 1000
