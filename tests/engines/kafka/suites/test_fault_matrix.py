"""Faults after which records come again or from elsewhere, as whole workflows, on the secured broker."""

from typing import Any

import pytest

from tests.e2e.test_fault_matrix import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_fault_matrix import ARCHIVE

OVER_REST = ("500:after=8", "missing:rows=3")
QUICK = frozenset[str]()
"""None: `test_two_sources` loads files and fails over to requests here."""
IN_FILES = ("archive-checksum:kind=wrong", "archive-corrupt:", "archive-rows:kind=skipped")


def is_sampled(item: pytest.Function) -> bool:
    """Whether the bus has to do with it: a second round or attempt writes to the topic, or its marker says so."""
    found: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    if "fault" in found:
        return str(found["fault"]).startswith(OVER_REST)
    return "number" in found and ARCHIVE[found["number"]].startswith(IN_FILES)
