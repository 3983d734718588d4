"""Topics of other producers, stored in ArangoDB."""

from tests.e2e.test_topics import *  # noqa: F403 - every test and fixture of it
