"""Recorded data of the real exchange: of each interval a file without and one with holes."""

from pathlib import Path

import pytest

from tests.e2e import recorded
from tests.e2e.recorded import Recording
from tests.e2e.test_recordings import (
    replaying,
    test_every_field_of_every_row_comes_out_as_it_stands_in_the_file,
    test_the_coverage_names_exactly_the_bars_that_the_exchange_never_had,
    workflows,
)

__all__ = [
    "is_sampled",
    "recordings",
    "replaying",
    "test_every_field_of_every_row_comes_out_as_it_stands_in_the_file",
    "test_the_coverage_names_exactly_the_bars_that_the_exchange_never_had",
    "workflows",
]


@pytest.fixture(scope="module")
def recordings(market_data: Path) -> dict[str, Recording]:
    """The sample. The test skips, as all of recordings do, where there are none."""
    assert market_data == recorded.folder()
    return _sample()


def is_sampled(item: pytest.Function) -> bool:
    """Whether it is about a file of the sample."""
    files = recorded.files()
    return not files or item.callspec.params["name"] in _sample()


def _sample() -> dict[str, Recording]:
    chosen: dict[tuple[str, bool], Recording] = {}
    for one in recorded.indexed().values():
        kind = (one.interval, bool(one.holes))
        if kind not in chosen or one.rows > chosen[kind].rows:
            chosen[kind] = one
    return {one.name: one for one in chosen.values()}
