"""Batches of `tests/e2e`, on the documents of ArangoDB."""

from tests.e2e.test_batches import *  # noqa: F403 - every test and fixture of it
