"""Trouble around the workers, on the secured broker."""

from tests.e2e.test_trouble import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_trouble import _quiet  # noqa: F401 - which `*` leaves out

QUICK = {
    "test_killed_workers_are_started_again_at_once_and_a_killed_manager_finds_its_workers",
    "test_a_frozen_worker_is_ended_and_its_late_events_count_no_more",
    "test_a_job_that_belongs_to_no_workflow_is_ended",
    "test_retention_removes_the_topics_of_ended_workflows",
}
"""Events, group members and topics decide these; what decides the others is the exchange."""
