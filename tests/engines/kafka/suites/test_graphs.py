"""Graphs, whose workers are told and tell by the secured broker."""

from tests.e2e.test_graphs import *  # noqa: F403 - every test and fixture of it

QUICK = {"test_a_builder_and_a_manager_that_are_killed_make_the_same_graph"}
"""What the others ask, store and objects decide."""
