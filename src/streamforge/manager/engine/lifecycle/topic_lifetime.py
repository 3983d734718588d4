"""When the topics of a workflow that has ended are removed, and when that of one without an end is trimmed. Pure."""

from __future__ import annotations

from streamforge.manager.engine.document import Status, Step, StepStatus, Workflow
from streamforge.manager.engine.lifecycle.findings import TopicsRemoved
from streamforge.manager.policy import Policy
from streamforge_utils.runtime.life.worker_definition import Role, Source


def due_removal(workflow: Workflow, now_ms: int, policy: Policy) -> TopicsRemoved | None:
    """What of an ended workflow was kept long enough to be removed now; of one that has not ended nothing was."""
    if not workflow.ended:
        return None
    age_s = (now_ms - (workflow.ended_ms or now_ms)) / 1000
    # Of a batch there are hundreds. Nobody reads a topic of which all is stored, and one without dead letters.
    stored = bool(workflow.batch) and (workflow.status is Status.FINISHED or _all_stored(workflow))
    retention_s = policy.topic_retention_s
    if leaves_some(workflow):  # a retry stores it, and of an order book nobody else has it
        retention_s = max(retention_s, policy.dlq_retention_s)
    if not workflow.topic_removed and (stored or age_s > retention_s):
        return TopicsRemoved(dead_letters=False)
    kept = age_s <= policy.dlq_retention_s and not (stored and not _has_refused(workflow))
    if workflow.topic_removed and not workflow.dlq_removed and not kept:
        return TopicsRemoved(dead_letters=True)
    return None


def leaves_some(workflow: Workflow) -> bool:
    """Whether a sink has left messages on the data topic, or may have."""
    return any(step.left or step.left_at_least for step in workflow.steps)


def may_trim(workflow: Workflow) -> bool:
    """Whether what every sink has stored may be removed: no attempt of a loader is about to go on behind it."""
    if not workflow.endless or not workflow.form.is_prepared:
        return False
    loaders = [step for step in workflow.steps if step.role is Role.LOADER]
    if not loaders:
        return False  # a topic that is not ours is its owner's to trim
    return all(step.source is not Source.STREAM or _writes(step) for step in loaders)


def _writes(step: Step) -> bool:
    """Whether the step's attempt has written something, and no other one is to go on there."""
    attempt = step.attempt
    if attempt is None or attempt.ended_ms is not None or attempt.stop_asked_ms is not None:
        return False
    return step.shadow is None and attempt.progress.position is not None


def _all_stored(workflow: Workflow) -> bool:
    """Whether each sink has come to the end of the data topic."""
    return all(step.status is StepStatus.FINISHED for step in workflow.steps if step.role is Role.SINK)


def _has_refused(workflow: Workflow) -> bool:
    """Whether a sink refused a record, which then is a dead letter."""
    return any(attempt.progress.refused for step in workflow.steps for attempt in step.attempts)
