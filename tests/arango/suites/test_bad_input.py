"""Requests that are refused, on ArangoDB: nothing of them is kept there."""

from tests.e2e.test_bad_input import *  # noqa: F403 - every test and fixture of it
