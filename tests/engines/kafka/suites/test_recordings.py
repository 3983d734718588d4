"""A sample of the recorded data of the real exchange, on the secured broker."""

from tests.e2e.test_recordings import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()
