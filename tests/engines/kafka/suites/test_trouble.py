"""Trouble around the workers, on the secured broker."""

from tests.e2e.test_trouble import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_trouble import _quiet  # noqa: F401 - which `*` leaves out

QUICK = {
    "test_a_killed_manager_finds_its_workers_again_and_nothing_is_done_twice",
    "test_a_killed_worker_is_spoken_for_and_started_again_at_once",
    "test_a_frozen_worker_is_ended_and_what_it_would_say_later_counts_no_more",
    "test_a_job_that_belongs_to_no_workflow_is_ended",
    "test_retention_removes_the_topics_of_ended_workflows",
}
"""Events, group members and topics decide these; what decides the others is the exchange."""
