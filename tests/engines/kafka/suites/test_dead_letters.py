"""Records that cannot be stored, on the secured broker."""

from tests.e2e.test_dead_letters import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_dead_letters import _quiet  # noqa: F401 - which `*` leaves out

QUICK = {
    "test_what_cannot_be_stored_is_kept_with_its_reason_and_can_be_replayed",
    "test_there_is_nothing_to_replay_where_nothing_was_refused",
}
"""The third looks at dead letters that the first writes, reads and replays."""
