"""Every fault of the exchange that a workflow lives with, on ArangoDB, and those that end a loader."""

import pytest

from tests.e2e.test_faults import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_faults import _within_limits  # noqa: F401 - which `*` leaves out


def is_sampled(item: pytest.Function) -> bool:
    """Whether workers have to do with it: what lasts from the beginning ends a workflow before any is started."""
    lasting = item.originalname == "test_a_fault_that_lasts_ends_in_a_reason_that_a_person_understands"
    return not lasting or "loader" in str(item.callspec.params["name"])


QUICK = frozenset[str]()
