"""Records that cannot be stored, on the secured broker."""

from tests.e2e.test_dead_letters import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_dead_letters import _quiet  # noqa: F401 - which `*` leaves out
