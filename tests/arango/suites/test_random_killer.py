"""The random killer of loaders, sinks and the manager, on ArangoDB."""

from tests.chaos.test_random_killer import *  # noqa: F403 - every test and fixture of it
