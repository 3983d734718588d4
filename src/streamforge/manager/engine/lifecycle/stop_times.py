"""How long a workflow that is asked to stop may take, and each of its parts. Pure."""

from __future__ import annotations

from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.registry import form_of
from streamforge.manager.policy import Policy

_LEAST, _BEHIND, _BY_FORCE, _LOADER = 0.1, 0.5, 0.1, 0.7
"""Shares of the time in which a continuous workflow ends: what its sink has at least to store the rest, what is left
behind that, after how much of it one is ended that does not end by itself, and when a loader is.
"""
_EACH_S = 0.1
"""So much longer it takes for each other one that ends at the same time."""


def stop_s(policy: Policy, stopping: int) -> float:
    """How long a continuous workflow may take to its end, where so many are stopping."""
    return policy.live_stop_s + _EACH_S * max(0, stopping - 1)


def left_s(workflow: Workflow, now_ms: int, policy: Policy, stopping: int) -> float | None:
    """What of that is left to one that somebody has stopped; None: it takes what it needs."""
    if workflow.stop_asked_ms is None or not form_of(workflow).ends_in_time(workflow):
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
