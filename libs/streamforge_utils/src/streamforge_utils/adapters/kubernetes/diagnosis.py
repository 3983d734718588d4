"""Translates the state of a Job and its pods into a reason and a next step for a person. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Final

import msgspec

from streamforge_utils.adapters.kubernetes.objects import EventObject, JobObject, PodObject, Terminated
from streamforge_utils.ports.job_log import last_words, signal_name

REASON_LIMIT: Final = 2000
_LOG_SHARE: Final = 1400
_EVENTS_SHOWN: Final = 3
_MESSAGE: Final = 400
_SIGNALS: Final = 128
_LOST_CODE: Final = 255

_NO_IMAGE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_NO_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_QUOTA = re.compile(r"exceeded quota|quota", re.IGNORECASE)
_SECURITY = re.compile(r"violates PodSecurity", re.IGNORECASE)


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job does not run yet. room: it waits for room in the cluster, which others make; else for a person."""

    reason: str
    next_step: str
    room: bool = False


NO_POD: Final = Wait(
    reason="no pod has been made for it yet, and no reason is given",
    next_step="if it lasts, see whether the cluster's controller manager works (kubectl describe job)",
    room=True,
)
"""What a Job waits for that nothing is known of: nothing is wrong with it, so it is waited for."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended. exit_code and signal as `Job` has them: neither, where it could not be observed."""

    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    next_step: str = ""


def wait_of(job: JobObject | None, pods: Sequence[PodObject], events: Sequence[EventObject]) -> Wait | None:
    """What a job that has not begun waits for; None if it runs or nothing is known. events: warnings about any jobs."""
    for pod in pods:
        if pod.status.phase != "Pending":
            return None
        found = _pending(pod, [event for event in events if event.involved_object.uid == pod.metadata.uid])
        if found is not None:
            return found
    if pods or job is None:
        return None
    mine = [event for event in events if event.involved_object.uid == job.metadata.uid]
    latest = max(mine, key=lambda event: event.at, default=None)
    return None if latest is None else _no_pod(latest.message)


def end_of(
    job: JobObject | None,
    pod: PodObject | None,
    *,
    deleted: bool,
    stopped: bool,
    waited: Wait | None = None,
    log: str | None = None,
    events: Sequence[EventObject] = (),
) -> End:
    """The end of a job whose pods are all gone or over.

    pod: the last one, in its last state. deleted: the Job is gone. stopped: we ended it. waited: why it had not begun.
    log: its last lines, None where they could not be read.
    """
    terminated = None if pod is None else pod.terminated
    if pod is not None and pod.status.phase == "Succeeded" and (terminated is None or terminated.exit_code == 0):
        return End(exit_code=0)
    end = _cause(job, pod, terminated, deleted=deleted, stopped=stopped, waited=waited)
    return msgspec.structs.replace(end, reason=_with_log(end.reason, log, events, begun=terminated is not None))


def _cause(
    job: JobObject | None,
    pod: PodObject | None,
    terminated: Terminated | None,
    *,
    deleted: bool,
    stopped: bool,
    waited: Wait | None,
) -> End:
    code = _code(terminated)
    failed = None if job is None else job.condition("Failed", "FailureTarget")
    if pod is None or (terminated is None and not pod.spec.node_name):
        if waited is None and failed is not None and failed.reason != "BackoffLimitExceeded":
            return End(reason=f"it never began: {failed.reason}: {failed.message[:_MESSAGE]}", next_step=_LOOK)
        return _unobserved(waited, deleted=deleted, stopped=stopped)
    node, disruption = pod.spec.node_name or "unknown", pod.condition("DisruptionTarget")
    if terminated is not None and terminated.reason == "OOMKilled":
        # Not a signal from outside: the same would happen to the next attempt, so it counts as its failure.
        return End(
            exit_code=code or 137,
            reason="OOMKilled: it took more memory than its limit",
            next_step="raise STREAMFORGE_K8S_MEMORY_LIMIT, or STREAMFORGE_K8S_ANALYST_MEMORY where it makes graphs or "
            "models, then retry the workflow",
        )
    if pod.status.reason == "Evicted":
        return End(
            signal=_signal(code),
            reason=f"evicted from node {node}: {pod.status.message[:_MESSAGE] or 'the node ran short'}",
            next_step="see what the node runs short of; a higher STREAMFORGE_K8S_MEMORY_REQUEST keeps workers longer",
        )
    if failed is not None and failed.reason == "DeadlineExceeded":
        return End(
            signal=_signal(code) or signal.SIGTERM,
            reason=f"ended by its deadline: {failed.message[:_MESSAGE]}",
            next_step="raise STREAMFORGE_K8S_DEADLINE_SECONDS if a step may take that long",
        )
    if disruption is not None or pod.status.reason in ("NodeLost", "NodeShutdown", "Terminated", "Preempting"):
        why = pod.status.reason if disruption is None else disruption.message or disruption.reason
        return End(
            signal=_signal(code),
            reason=f"disrupted on node {node}: {why[:_MESSAGE]}",
            next_step=f"nothing if it is rare; else {_NODE}",
        )
    if terminated is not None and terminated.reason == "ContainerStatusUnknown":
        return End(reason=f"node {node} lost sight of it", next_step=_NODE)
    if terminated is not None and code is not None:
        return _exited(code, terminated, deleted=deleted, stopped=stopped)
    return _unobserved(waited, deleted=deleted, stopped=stopped)


def _unobserved(waited: Wait | None, *, deleted: bool, stopped: bool) -> End:
    if waited is not None:
        return End(reason=f"it never began: {waited.reason}", next_step=waited.next_step)
    if stopped:
        return End(reason="it was ended before it had begun, or its end could not be observed")
    whose = "its Job was deleted by somebody else" if deleted else "its pod is gone"
    return End(reason=f"{whose}; how it ended could not be observed")


def _exited(code: int, terminated: Terminated, *, deleted: bool, stopped: bool) -> End:
    number = _signal(code)
    by_hand = deleted and not stopped
    if number is not None:
        who = "; its Job or pod was deleted by somebody else" if by_hand else ""
        return End(signal=number, reason=f"killed by signal {number} ({signal_name(number)}){who}")
    if by_hand and code != 2:
        what = f"its Job or pod was deleted by somebody else; exit code {code}"
        return End(exit_code=0, reason=what) if code == 0 else End(signal=signal.SIGTERM, reason=what)
    if terminated.reason in ("StartError", "ContainerCannotRun"):
        what = f"its container could not be started: {terminated.message[:_MESSAGE] or terminated.reason}"
        return End(exit_code=2, reason=what, next_step="see whether the image is the right one and has a command")
    next_step = "see the log lines above for the cause"
    if code == 2:
        next_step = "correct the setting that the log names: the manager's, or that of the workers' ConfigMap or Secret"
    return End(exit_code=code, reason=f"exit code {code}", next_step=next_step)


def _pending(pod: PodObject, events: Sequence[EventObject]) -> Wait | None:
    waiting = pod.waiting
    if waiting is not None and waiting.reason in _NO_IMAGE:
        image = next((status.image for status in pod.status.container_statuses or ()), "") or "its image"
        return Wait(
            reason=f"image {image} cannot be pulled ({waiting.reason}: {waiting.message[:_MESSAGE]})",
            next_step="correct STREAMFORGE_IMAGE_REGISTRY, STREAMFORGE_IMAGE_VERSION or STREAMFORGE_IMAGES, or give "
            "the registry's login in STREAMFORGE_IMAGE_PULL_SECRETS",
        )
    if waiting is not None and waiting.reason in _NO_CONTAINER:
        return Wait(
            reason=f"its container cannot be made ({waiting.reason}: {waiting.message[:_MESSAGE]})",
            next_step="make the Secret or ConfigMap that the reason names; `streamforge doctor` lists them",
        )
    unscheduled = next(
        (one for one in pod.status.conditions or () if one.type == "PodScheduled" and one.status == "False"), None
    )
    if unscheduled is not None and unscheduled.reason == "Unschedulable":
        return Wait(
            reason=f"no node takes it: {unscheduled.message[:_MESSAGE]}",
            next_step="free or add a node, or change STREAMFORGE_K8S_NODE_SELECTOR or the workers' requests",
            room=True,
        )
    latest = max(
        (event for event in events if event.reason in ("FailedMount", "FailedAttachVolume")),
        key=lambda event: event.at,
        default=None,
    )
    if latest is not None:
        return Wait(
            reason=f"a volume cannot be mounted: {latest.message[:_MESSAGE]}",
            next_step="make the Secret, ConfigMap or claim that the reason names; `streamforge doctor` lists them",
        )
    return None


def _no_pod(message: str) -> Wait:
    shown = message[:_MESSAGE]
    if _SECURITY.search(message):
        return Wait(
            reason=f"Pod Security does not let its pod in: {shown}",
            next_step="the workers keep to *restricted*: look for what was added to them, or for a policy of your own",
        )
    if _QUOTA.search(message):
        return Wait(
            reason=f"the namespace's quota is used up: {shown}",
            next_step="wait for other pods to end, or raise the ResourceQuota",
            room=True,
        )
    return Wait(reason=f"no pod is made for it: {shown}", next_step=_LOOK)


_NODE = "see the node's state (kubectl describe node)"
_LOOK = "see `kubectl describe job` for what keeps its pod from being made"


def _with_log(what: str, log: str | None, events: Sequence[EventObject], *, begun: bool) -> str:
    parts = [what]
    latest = sorted(events, key=lambda event: event.at)[-_EVENTS_SHOWN:]
    if latest:
        shown = [f"{event.reason}: {' '.join(event.message.split())[:160]}" for event in latest]
        parts.append("events: " + " | ".join(shown))
    if tail := last_words(log or "", _LOG_SHARE):
        parts.append(f"it last wrote:\n{tail}")
    elif log is not None:
        parts.append("it wrote nothing")
    elif begun:
        parts.append("its log could not be read")
    return "; ".join(parts)[:REASON_LIMIT]


def _code(terminated: Terminated | None) -> int | None:
    if terminated is None:
        return None
    return _SIGNALS + terminated.signal if terminated.signal else terminated.exit_code


def _signal(code: int | None) -> int | None:
    return code - _SIGNALS if code is not None and _SIGNALS < code < _LOST_CODE else None
