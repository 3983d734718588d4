"""The benchmarks of the web UI run, and what they measure can be true."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.common.bench import Bench
from benchmarks.common.measuring import Size
from tests.benchmarks.sanity import check_sane

SLOW = ("ui-lists", "ui-series")


@pytest.mark.parametrize("name", ["ui-route", *(pytest.param(one, marks=pytest.mark.long) for one in SLOW)])
def test_a_tiny_run_measures_something_sane(name: str) -> None:
    with ThreadPoolExecutor(1) as beside:  # in the thread of the other tests their browser's event loop runs
        check_sane(beside.submit(BENCHMARKS[name], Bench(Size.TINY, quiet=True)).result())
