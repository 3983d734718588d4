"""When something is to be done for a live workflow. Pure."""

from __future__ import annotations

from streamforge.manager.engine.document import StepStatus, Workflow
from streamforge.manager.engine.lifecycle.handovers import is_wanted
from streamforge.manager.policy import Policy
from streamforge.manager.workflows.live.model import Ledger
from streamforge_utils.runtime.worker_definition import Source

_COMPARE_S = 0.1
"""Between the comparisons of two live workflows: ten a second leave time for all else."""
_LEAST, _BEHIND, _BY_FORCE, _LOADER = 0.1, 0.5, 0.1, 0.7
"""Shares of the time in which a live workflow ends: what its sink has at least to store the rest, what is left behind
that, after how much of it one is ended that does not end by itself, and when a loader is.
"""
_EACH_S = 0.1
"""So much longer it takes for each other one that ends at the same time."""


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


def stop_s(policy: Policy, stopping: int) -> float:
    """How long a live workflow may take to its end, where so many are stopping."""
    return policy.live_stop_s + _EACH_S * max(0, stopping - 1)


def left_s(workflow: Workflow, now_ms: int, policy: Policy, stopping: int) -> float | None:
    """What of that is left to one that somebody has stopped; None: it takes what it needs."""
    if workflow.ledger is None or workflow.stop_asked_ms is None:
        return None
    return stop_s(policy, stopping) - (now_ms - workflow.stop_asked_ms) / 1000


def drain_s(workflow: Workflow, asked_ms: int, policy: Policy, stopping: int) -> float:
    """How long a sink that is asked to stop then may take for what its loaders have sent."""
    rest_s, whole_s = left_s(workflow, asked_ms, policy, stopping), stop_s(policy, stopping)
    if rest_s is None:
        return policy.drain_within_s
    return min(policy.drain_within_s, max(_LEAST * whole_s, rest_s - _BEHIND * whole_s))


def patience_s(workflow: Workflow, asked_ms: int, policy: Policy, stopping: int, *, drains: bool) -> float:
    """How long an attempt that was asked to stop then may take until its job is ended. drains: as a sink may."""
    drain = drain_s(workflow, asked_ms, policy, stopping) if drains else 0.0
    if left_s(workflow, asked_ms, policy, stopping) is None:
        return policy.stop_within_s + drain
    share = _BY_FORCE if drains else _LOADER
    return min(policy.stop_within_s, share * stop_s(policy, stopping)) + drain


def kill_grace_s(workflow: Workflow, policy: Policy, stopping: int) -> float:
    """How long a job that is ended has between SIGTERM and SIGKILL."""
    if left_s(workflow, 0, policy, stopping) is None:
        return policy.kill_grace_s
    return min(policy.kill_grace_s, _BY_FORCE * stop_s(policy, stopping))
