"""Every fault of the streams on ArangoDB; quick are those after which records come twice, late, or from elsewhere."""

import pytest

from tests.e2e.takeover import with_parameters as is_sampled  # noqa: F401 - its name tells what for
from tests.e2e.test_stream_fault_matrix import *  # noqa: F403 - every test and fixture of it

FAULTS_HERE = ("stream-missing:p", "stream-duplicate:p", "stream-disordered:", "stream-corrected-bar:")


def is_quick(item: pytest.Function) -> bool:
    """Whether the store has to do with it."""
    return str(item.callspec.params["fault"]).startswith(FAULTS_HERE)
