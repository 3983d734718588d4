"""The random killer of loaders, sinks and the manager, on the secured broker."""

from tests.chaos.test_random_killer import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset[str]()
