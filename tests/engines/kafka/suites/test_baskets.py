"""Live loaders that are baskets, on the secured broker."""

from tests.e2e.test_baskets import *  # noqa: F403 - every test and fixture of it

QUICK = set[str]()
"""What a basket shares of the bus is tested for itself; here it is seen whole."""
