"""Every fault of the streams, on the secured broker; quick are those in which the topic has to stay in order."""

import pytest

from tests.e2e.takeover import with_parameters as is_sampled  # noqa: F401 - its name tells what for
from tests.e2e.test_stream_fault_matrix import *  # noqa: F403 - every test and fixture of it

FAULTS_HERE = ("stream-missing:p", "stream-reset:all=1", "stream-shutdown:seconds=1")


def is_quick(item: pytest.Function) -> bool:
    """Whether the bus has to do with it: much comes by requests, or all loaders connect again at once."""
    return str(item.callspec.params["fault"]).startswith(FAULTS_HERE)
