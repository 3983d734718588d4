"""The cache of jobs, with the reports about them in any order; members of a basket have one Job."""

from __future__ import annotations

import msgspec
import pytest

from streamforge_utils.adapters.kubernetes.diagnosis import Wait
from streamforge_utils.adapters.kubernetes.job_cache import JOB_NAME_LABEL, JOB_UID_LABEL, CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.job_records import JobRecord
from streamforge_utils.adapters.kubernetes.manifest import MEMBERS, QUEUE_ANNOTATION, TARGET_LABEL
from streamforge_utils.adapters.kubernetes.objects import JobObject, Metadata, PodObject, PodStatus
from streamforge_utils.ports.launcher import JobState

JOB = JobObject(metadata=Metadata(name="job-a", uid="uid-a"))
POD = PodObject(
    metadata=Metadata(name="job-a-x", uid="uid-x", labels={JOB_NAME_LABEL: "job-a", JOB_UID_LABEL: "uid-a"}),
    status=PodStatus(phase="Running"),
)


def cache() -> tuple[JobCache, list[str]]:
    touched = list[str]()

    def touch(entry: CachedJob) -> None:
        touched.append(entry.name)

    return JobCache(touch, lambda entry, pod: None), touched


def test_a_job_is_there_though_its_pod_was_heard_of_and_an_older_list_read_before_the_answer() -> None:
    found, _ = cache()
    found.pods.changed(POD)
    found.jobs.replaced([], asked=5.0)  # asked for before the Job was made
    entry = found.add(JOB, since=6.0)
    assert not entry.gone
    assert not entry.is_over()
    found.jobs.replaced([], asked=5.5)
    assert not entry.gone, "that list was asked for earlier, too"
    found.jobs.replaced([], asked=7.0)
    assert entry.gone


def test_a_job_that_was_seen_to_go_before_the_answer_is_gone() -> None:
    found, touched = cache()
    found.jobs.changed(JOB)
    found.jobs.removed(JOB)
    assert found.add(JOB, since=6.0).gone
    assert touched == ["job-a", "job-a"]


def test_a_job_is_reported_as_the_same_until_something_of_it_changes() -> None:
    found, _ = cache()
    entry = found.add(JOB, since=6.0)
    (first,) = entry.seen()
    assert entry.seen()[0] is first
    entry.waited = Wait(reason="no room", next_step="make some", room=True)
    assert [(one.waiting, one.waits_for_room) for one in entry.seen()] == [("no room", True)]
    found.pods.changed(POD)
    assert entry.seen() == [first], "it has begun"
    found.jobs.changed(msgspec.convert({"metadata": {"name": "job-a", "uid": "uid-a"}, "spec": IMAGE}, JobObject))
    assert [one.image for one in entry.seen()] == ["some:1"]
    entry.end(entry.ended_as(first))
    assert entry.seen() == [entry.record.ended]


IMAGE = {"template": {"spec": {"containers": [{"image": "some:1"}]}}}
MEMBERS_OF = [["job-a", "wf-a", 1], ["job-b", "wf-b", 2], ["job-c", "wf-c", 3]]
BASKET = Metadata(
    name="basket-x",
    uid="uid-b",
    labels={TARGET_LABEL: "loader-ws-trades"},
    annotations={QUEUE_ANNOTATION: "", MEMBERS: msgspec.json.encode(MEMBERS_OF).decode()},
    creation_timestamp="2024-08-01T00:00:00Z",
)


def ended_pod(**terminated: object) -> PodObject:
    labels = {JOB_NAME_LABEL: "basket-x", JOB_UID_LABEL: "uid-b"}
    found = {
        "metadata": {"name": "p", "uid": "uid-p", "labels": labels, "annotations": BASKET.annotations},
        "status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": terminated}}]},
    }
    return msgspec.convert(found, PodObject)


def test_a_basket_is_known_by_what_its_job_names() -> None:
    found, _ = cache()
    found.jobs.changed(JobObject(metadata=BASKET))
    entry = found.find("job-b")
    assert entry is not None
    assert entry is found.find("job-a")
    assert entry.name == "basket-x"
    assert [(job.name, job.queue_id, job.attempt, job.target, job.basket, job.state.value) for job in entry.seen()] == [
        (name, queue_id, number, "loader-ws-trades", "basket-x", "running") for name, queue_id, number in MEMBERS_OF
    ]
    assert {job.started_ms for job in entry.seen()} == {1_722_470_400_000}


@pytest.mark.parametrize(
    ("message", "ends"),
    [
        ("ends of the members: 000 --- 001", [(0, None), (None, 9), (1, None)]),
        ("some last line of a log", [(None, 9)] * 3),
        ("", [(None, 9)] * 3),
    ],
)
def test_each_ends_as_its_process_has_told_else_as_that_did(
    message: str, ends: list[tuple[int | None, int | None]]
) -> None:
    found, _ = cache()
    found.jobs.changed(JobObject(metadata=BASKET))
    found.pods.changed(ended_pod(exitCode=137, message=message))
    entry = found.find("job-b")
    assert entry is not None
    assert entry.pod_ended()
    process = entry.record.as_job(JobState.ENDED, signal=9, reason="killed", ended_ms=2_000_000_000_000)
    entry.end(entry.ended_as(process))
    assert [(job.exit_code, job.signal) for job in entry.seen()] == ends
    assert {job.ended_ms for job in entry.seen()} == {2_000_000_000_000}
    assert [job.reason for job in entry.seen() if job.exit_code == 0] == [""] * ends.count((0, None))
    assert all("killed" in job.reason for job in entry.seen() if job.exit_code != 0)


def test_what_a_process_tells_of_its_members_is_no_last_line() -> None:
    assert ended_pod(exitCode=1, message="ends of the members: 000 ---").final_message is None
    assert ended_pod(exitCode=1, message="a line").final_message == "a line"


def test_how_one_was_said_to_end_stays() -> None:
    found, _ = cache()
    found.jobs.changed(JobObject(metadata=BASKET))
    entry = found.find("job-c")
    assert entry is not None
    noted = entry.noted("job-c", 0, 1_800_000_000_000)
    assert noted is not None
    entry.record = noted
    assert entry.noted("job-c", 1, 1_900_000_000_000) is None
    assert not entry.ended
    found.pods.changed(ended_pod(exitCode=1, message="ends of the members: 001 001 001"))
    entry.end(entry.ended_as(entry.record.as_job(JobState.ENDED, exit_code=1, ended_ms=2_000_000_000_000)))
    ends = {job.name: (job.exit_code, job.ended_ms) for job in entry.seen()}
    assert ends == {
        "job-a": (1, 2_000_000_000_000),
        "job-b": (1, 2_000_000_000_000),
        "job-c": (0, 1_800_000_000_000),
    }


def test_what_is_stored_of_a_basket_is_found_again() -> None:
    before, _ = cache()
    before.jobs.changed(JobObject(metadata=BASKET))
    entry = before.entries["basket-x"]
    record = entry.noted("job-a", 2, 1_800_000_000_000)
    assert record is not None
    read = msgspec.json.decode(msgspec.json.encode(record), type=JobRecord)
    assert read.format == 2
    after, _ = cache()
    after.load([read])
    found = after.find("job-a")
    assert found is not None
    assert [job.state.value for job in found.seen()] == ["running", "running", "ended"]
    after.jobs.changed(JobObject(metadata=BASKET))
    assert found is after.find("job-b"), "its Job tells nothing new"
    after.drop(found)
    assert [after.find(name) for name in ("basket-x", "job-a", "job-b", "job-c")] == [None] * 4
