"""Pauses and bans of the exchange, on ArangoDB."""

from tests.e2e.test_limits import *  # noqa: F403 - every test and fixture of it
