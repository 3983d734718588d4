"""Records that somebody removed, on ArangoDB."""

import pytest

from tests.e2e.test_system import *  # noqa: F403 - every test and fixture of it


def is_sampled(item: pytest.Function) -> bool:
    """The others are about files of the store, or about what comes before there is one."""
    return item.originalname == "test_records_that_are_gone_are_loaded_again_although_the_coverage_names_them"
