"""The life of a workflow, on ArangoDB."""

from tests.e2e.test_lifecycle import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_lifecycle import _quiet  # noqa: F401 - which `*` leaves out
