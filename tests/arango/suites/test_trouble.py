"""Trouble around the workers, on ArangoDB."""

from tests.e2e.test_trouble import *  # noqa: F403 - every test and fixture of it
from tests.e2e.test_trouble import _quiet  # noqa: F401 - which `*` leaves out
