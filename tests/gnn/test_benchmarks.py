"""The benchmarks of networks run, and what they measure can be true."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Size
from tests.benchmarks.sanity import check_sane


@pytest.mark.parametrize("name", ["gat", "ladder"])
def test_a_tiny_run_measures_something_sane(name: str) -> None:
    check_sane(BENCHMARKS[name](Bench(Size.TINY, quiet=True)))
