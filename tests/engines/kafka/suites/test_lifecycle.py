"""The life of a workflow, on the secured broker."""

from tests.e2e.test_lifecycle import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_lifecycle import _quiet  # noqa: F401 - which `*` leaves out

QUICK = {
    "test_a_stop_in_the_middle_keeps_what_was_stored_and_a_retry_loads_only_the_rest",
    "test_deleting_with_its_data_leaves_nothing_of_a_workflow",
    "test_two_loaders_share_the_weight_pong_and_leave_a_third_workflow_pending",
}
"""Commands, events and topics decide these; what decides the others is the store and the exchange."""
