"""Faults of the streams in which the topic has to stay in order, on the secured broker."""

import pytest

from tests.e2e.test_stream_fault_matrix import *  # noqa: F403 - every test and fixture of it

FAULTS_HERE = ("stream-missing:p", "stream-reset:all=1", "stream-shutdown:seconds=1")


def is_sampled(item: pytest.Function) -> bool:
    """Whether the bus has to do with it: much comes by requests, or all loaders connect again at once."""
    return hasattr(item, "callspec") and str(item.callspec.params["fault"]).startswith(FAULTS_HERE)
