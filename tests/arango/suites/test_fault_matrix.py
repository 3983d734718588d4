"""Every fault of REST and of the archive, as whole workflows, on ArangoDB.

Quick are those that leave holes, doubles, doubts or disorder: what becomes of them is read from the store. The others
end before a record is sent, or are asked for again until they are over.
"""

from typing import Any

import pytest

from tests.e2e.takeover import with_parameters as is_sampled  # noqa: F401 - its name tells what for
from tests.e2e.test_fault_matrix import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_fault_matrix import ARCHIVE

OVER_REST = ("500:after=8", "empty:", "missing:rows=3", "duplicate:rows=3", "disordered:", "shifted:by=2", "floor:")
IN_FILES = (
    *("archive-checksum:kind=wrong", "archive-corrupt:", "archive-missing:listed=1", "archive-rows:kind=altered"),
    *("archive-rows:kind=cut", "archive-rows:kind=skipped", "archive-rows:kind=repeated", "archive-rows:kind=swapped"),
)


def is_quick(item: pytest.Function) -> bool:
    """Whether the store has to do with it."""
    found: dict[str, Any] = item.callspec.params
    if "fault" in found:
        return str(found["fault"]).startswith(OVER_REST)
    return "number" in found and str(ARCHIVE[found["number"]]).startswith(IN_FILES)
