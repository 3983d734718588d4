"""The exchange that ends under a workflow, on ArangoDB."""

from tests.e2e.test_exchange_dies import *  # noqa: F403 - every test and fixture of it
