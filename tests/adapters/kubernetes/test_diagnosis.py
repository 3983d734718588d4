"""The state of a Job and its pods becomes a reason and a next step. Real ones: tests/engines."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from streamforge_utils.adapters.kubernetes.diagnosis import REASON_LIMIT, End, Wait, end_of, wait_of
from streamforge_utils.adapters.kubernetes.objects import EventObject, InvolvedObject, JobObject, PodObject
from streamforge_utils.ports.job_log import last_words

CODES = (1, 2, 3, 127, 255)
JOB = {"metadata": {"name": "job-x", "uid": "uid-job"}}


def job(**condition: str) -> JobObject:
    given = [{"status": "True", **condition}] if condition else []
    return msgspec.convert({**JOB, "status": {"conditions": given}}, JobObject)


def pod(phase: str = "Failed", *, node: str = "node-1", conditions: Any = (), **status: Any) -> PodObject:
    state = status.pop("state", None)
    containers = [] if state is None else [{"name": "main", "image": "r/x:1", "state": state}]
    return msgspec.convert(
        {
            "metadata": {"name": "pod-x", "uid": "uid-pod"},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": conditions, "containerStatuses": containers, **status},
        },
        PodObject,
    )


def exited(code: int, *, reason: str = "Error", **more: Any) -> PodObject:
    return pod(state={"terminated": {"exitCode": code, "reason": reason}}, **more)


def warning(message: str, *, about: str = "uid-job", reason: str = "FailedCreate", at: str = "1") -> EventObject:
    return EventObject(reason=reason, message=message, involved_object=InvolvedObject(uid=about), last_timestamp=at)


def end(found: PodObject | None, of: JobObject | None = None, **more: Any) -> End:
    return end_of(of or job(), found, **{"deleted": False, "stopped": False, **more})


DRAINED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
LATE = job(type="Failed", reason="DeadlineExceeded", message="Job was active longer than specified deadline")
UNSTARTED = {"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: no such file"}}
BY_HAND = "its Job or pod was deleted by somebody else; exit code"
WAITED = Wait(reason="no node takes it: full", next_step="add one")


@pytest.mark.parametrize(
    ("found", "begins", "code", "number"),
    [
        *((end(exited(code), log="wrote\n"), f"exit code {code}; it last wrote:\nwrote", code, None) for code in CODES),
        *(
            (end(pod(state={"terminated": how}), log=""), "killed by signal 9 (SIGKILL); it wrote nothing", None, 9)
            for how in ({"exitCode": 137}, {"exitCode": 0, "signal": 9})
        ),
        (end(exited(1), log=None), "exit code 1; its log could not be read", 1, None),
        (end(exited(1), log=" \n"), "exit code 1; it wrote nothing", 1, None),
        (end(pod(reason="Evicted", message="low: memory.")), "evicted from node node-1: low: memory.", None, None),
        # It did not fail by itself.
        (end(exited(1, conditions=[DRAINED])), "disrupted on node node-1: drained", None, None),
        # The deadline goes before the signal that it sends.
        (end(exited(1), LATE), "ended by its deadline: Job was active", None, signal.SIGTERM),
        (end(exited(1), deleted=True), f"{BY_HAND} 1", None, signal.SIGTERM),
        (end(exited(0), deleted=True), f"{BY_HAND} 0", 0, None),
        # A bad setting stays one, and what we ended counts.
        (end(exited(2), deleted=True), "exit code 2", 2, None),
        (end(exited(1), deleted=True, stopped=True), "exit code 1", 1, None),
        # A container that cannot be started is a bad setting.
        (end(pod(state=UNSTARTED)), "its container could not be started: exec: no such file", 2, None),
        # Without a pod it may have had no log.
        (end(None, stopped=True, deleted=True), "it was ended before it had begun, or its end could not", None, None),
        (end(None, deleted=True, log=None), "its Job was deleted by somebody else; how it ended could", None, None),
        (end(None), "its pod is gone; how it ended could not be observed", None, None),
        (end(None, waited=WAITED), "it never began: no node takes it: full", None, None),
    ],
)
def test_an_end_has_its_code_or_signal_and_a_reason(
    found: End, begins: str, code: int | None, number: int | None
) -> None:
    assert (found.exit_code, found.signal) == (code, number)
    assert found.reason.startswith(begins)


def test_success_has_no_reason_and_a_failure_a_next_step() -> None:
    assert end(pod("Succeeded", state={"terminated": {"exitCode": 0}})) == End(exit_code=0)
    assert all(end(exited(code)).next_step for code in CODES)
    assert "STREAMFORGE_K8S_DEADLINE_SECONDS" in end(exited(1), LATE).next_step
    assert "log" not in end(None, deleted=True, log=None).reason


def test_a_reason_has_events_and_a_bound() -> None:
    events = [warning(f"event {n}", at=str(n)) for n in range(9)]
    found = end(exited(1), log="x" * 10_000, events=events)
    assert len(found.reason) <= REASON_LIMIT
    assert "event 8" in found.reason
    assert "event 5" not in found.reason, "the latest three"


def test_last_words_begin_with_a_whole_line_and_hold_no_control_characters() -> None:
    assert last_words("one\ntwo\nthree\n", 9) == "three"
    assert last_words("a\x1b[31mb\x00c", 100) == "a[31mbc"


# Waiting


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_is_named_with_the_settings_that_choose_it(reason: str) -> None:
    found = wait_of(job(), [pod("Pending", state={"waiting": {"reason": reason, "message": "not found"}})], ())
    assert found is not None
    assert found.reason == f"image r/x:1 cannot be pulled ({reason}: not found)"
    assert not found.room


def test_what_pod_security_refuses_is_named() -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    found = wait_of(job(), [], [warning(message)])
    assert found is not None
    assert found.reason.startswith("Pod Security does not let its pod in: ")
    assert not found.room


def test_a_quota_is_waited_for_as_room() -> None:
    found = wait_of(job(), [], [warning('pods "x" is forbidden: exceeded quota: q, requested: pods=1')])
    assert found is not None
    assert found.room


def test_the_latest_event_counts_and_only_those_about_this_job() -> None:
    events = [
        warning("exceeded quota", at="2026-01-01T00:00:00Z"),
        warning("violates PodSecurity", at="2026-01-02T00:00:00Z"),
        warning("exceeded quota", about="uid-other", at="2026-01-03T00:00:00Z"),
    ]
    found = wait_of(job(), [], events)
    assert found is not None
    assert found.reason.startswith("Pod Security")
    assert wait_of(job(), [], events[2:]) is None


def test_one_that_runs_or_of_which_nothing_is_known_waits_for_nothing() -> None:
    assert wait_of(job(), [pod("Running")], [warning("exceeded quota")]) is None
    assert wait_of(job(), [pod("Pending", state={"waiting": {"reason": "ContainerCreating"}})], ()) is None
    assert wait_of(job(), [], ()) is None
    assert wait_of(None, [], [warning("exceeded quota")]) is None
