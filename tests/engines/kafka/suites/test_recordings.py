"""A sample of the recorded data of the real exchange, on the secured broker."""

from tests.e2e.recordings_sample import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()
