"""When something is to be done for a live workflow. Pure."""

from __future__ import annotations

from streamforge.manager.lifecycle.handovers import is_wanted
from streamforge.manager.live_ledger import Ledger
from streamforge.manager.policy import Policy
from streamforge.manager.workflow import StepStatus, Workflow
from streamforge_utils.runtime.worker_definition import Source

_COMPARE_S = 0.1
"""Between the comparisons of two live workflows: ten a second leave time for all else."""


def waits_to_connect(workflow: Workflow | None) -> bool:
    """Whether an attempt of a loader of its stream is to be made."""
    steps = () if workflow is None or not workflow.is_live else workflow.steps
    return any(
        one.source is Source.STREAM and (one.status is StepStatus.WAITING or (is_wanted(one) and one.shadow is None))
        for one in steps
    )


def is_due(ledger: Ledger, now_ms: int, policy: Policy, live_workflows: int) -> bool:
    """Whether a live workflow is to be compared now: the more there are, the less often each is."""
    every_s = max(policy.compare_every_s, live_workflows * _COMPARE_S)
    return ledger.behind or not 0 <= now_ms - ledger.compared_ms < every_s * 1000
