"""The cache of jobs, with the reports about them in any order."""

from __future__ import annotations

from streamforge_utils.adapters.kubernetes.job_cache import JOB_NAME_LABEL, JOB_UID_LABEL, CachedJob, JobCache
from streamforge_utils.adapters.kubernetes.objects import JobObject, Metadata, PodObject, PodStatus

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
