"""Pauses and bans of the exchange, on ArangoDB."""

from tests.e2e.test_limits import *  # noqa: F403 - every test and fixture of it

QUICK = frozenset({"test_while_the_exchange_is_dead_the_workflow_names_it_and_nothing_else"})
