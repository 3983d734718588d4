"""The benchmark on a real control plane runs, and what it measures can be true."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Size
from tests.benchmarks.sanity import check_sane


@pytest.mark.long
def test_a_tiny_run_measures_something_sane() -> None:
    section = BENCHMARKS["kubernetes"](Bench(Size.TINY, quiet=True))
    check_sane(section)
    assert section.details[0] == "Watches that the manager holds: 2, for any number of workflows."
    assert section.details[1] == "Charged to the quotas: 10 Jobs, 10 pods.", "it measures a namespace as it ships"
