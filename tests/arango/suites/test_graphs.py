"""Graphs, on ArangoDB: nodes and edges of its named graph."""

from tests.e2e.test_graphs import *  # noqa: F403 - every test and fixture of it
