"""Faults of the streams after which records come twice, late, in disorder or from elsewhere, on ArangoDB."""

import pytest

from tests.e2e.test_stream_fault_matrix import *  # noqa: F403 - every test and fixture of it

FAULTS_HERE = ("stream-missing:p", "stream-duplicate:p", "stream-disordered:", "stream-corrected-bar:")


def is_sampled(item: pytest.Function) -> bool:
    """Whether the store has to do with it."""
    return hasattr(item, "callspec") and str(item.callspec.params["fault"]).startswith(FAULTS_HERE)
