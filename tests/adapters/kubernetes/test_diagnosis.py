"""The state of a Job and its pods becomes a reason and a next step. Real ones: tests/engines."""

from __future__ import annotations

import signal
from typing import Any

import msgspec
import pytest

from streamforge_utils.adapters.kubernetes.diagnosis import REASON_LIMIT, End, Wait, end_of, log_tail, wait_of
from streamforge_utils.adapters.kubernetes.objects import EventObject, InvolvedObject, JobObject, PodObject

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


def test_success_has_no_reason() -> None:
    assert end(pod("Succeeded", state={"terminated": {"exitCode": 0}})) == End(exit_code=0)


@pytest.mark.parametrize("code", [1, 2, 3, 127, 255])
def test_an_exit_code_is_itself(code: int) -> None:
    found = end(exited(code), log="what it wrote\n")
    assert (found.exit_code, found.signal) == (code, None)
    assert found.reason == f"exit code {code}; it last wrote:\nwhat it wrote"
    assert found.next_step


@pytest.mark.parametrize("terminated", [{"exitCode": 137}, {"exitCode": 0, "signal": 9}])
def test_a_signal_is_itself(terminated: Any) -> None:
    found = end(pod(state={"terminated": terminated}), log="")
    assert (found.exit_code, found.signal) == (None, signal.SIGKILL)
    assert found.reason == "killed by signal 9 (SIGKILL); it wrote nothing"


def test_a_log_that_could_not_be_read_is_not_said_to_be_empty() -> None:
    assert end(exited(1), log=None).reason == "exit code 1; its log could not be read"
    assert end(exited(1), log=" \n").reason == "exit code 1; it wrote nothing"
    assert "log" not in end(None, deleted=True, log=None).reason, "it may have had none"


def test_an_evicted_pod_may_say_no_more_than_that() -> None:
    found = end(pod(reason="Evicted", message="The node was low on resource: memory."))
    assert (found.exit_code, found.signal) == (None, None)
    assert found.reason.startswith("evicted from node node-1: The node was low on resource: memory.")


def test_what_exits_because_its_node_is_drained_did_not_fail_by_itself() -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
    found = end(exited(1, conditions=[target]))
    assert (found.exit_code, found.signal) == (None, None)
    assert found.reason.startswith("disrupted on node node-1: drained")


def test_a_deadline_goes_before_the_signal_that_it_sends() -> None:
    of = job(type="Failed", reason="DeadlineExceeded", message="Job was active longer than specified deadline")
    found = end(exited(1), of)
    assert (found.exit_code, found.signal) == (None, signal.SIGTERM)
    assert "STREAMFORGE_K8S_DEADLINE_SECONDS" in found.next_step


def test_what_a_hand_deleted_did_not_fail_but_a_bad_setting_stays_one() -> None:
    assert end(exited(1), deleted=True).exit_code is None
    assert end(exited(1), deleted=True, stopped=True).exit_code == 1, "we ended it: what it says counts"
    assert end(exited(2), deleted=True).exit_code == 2
    assert end(exited(0), deleted=True).exit_code == 0


def test_a_container_that_cannot_be_started_is_a_bad_setting() -> None:
    state = {"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: no such file"}}
    found = end(pod(state=state))
    assert found.exit_code == 2
    assert "exec: no such file" in found.reason


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"stopped": True, "deleted": True}, "ended before it had begun"),
        ({"deleted": True}, "deleted by somebody else"),
        ({}, "its pod is gone"),
        ({"waited": Wait(reason="no node takes it: full", next_step="add one")}, "it never began: no node takes it"),
    ],
)
def test_one_of_which_no_pod_is_left(more: Any, says: str) -> None:
    found = end(None, **more)
    assert (found.exit_code, found.signal) == (None, None)
    assert says in found.reason


def test_a_reason_has_events_and_a_bound() -> None:
    events = [warning(f"event {n}", at=str(n)) for n in range(9)]
    found = end(exited(1), log="x" * 10_000, events=events)
    assert len(found.reason) <= REASON_LIMIT
    assert "event 8" in found.reason
    assert "event 5" not in found.reason, "the latest three"


def test_last_words_begin_with_a_whole_line_and_hold_no_control_characters() -> None:
    assert log_tail("one\ntwo\nthree\n", 9) == "three"
    assert log_tail("a\x1b[31mb\x00c", 100) == "a[31mbc"


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
