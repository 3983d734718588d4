"""What the tests on real engines share. They fail, never skip, where an engine cannot start.

Those that need others' schemas skip without them, unless STREAMFORGE_REQUIRE_SCHEMAS is set (tests/places.py).
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.engines.kafka.fixtures import plain_broker, plain_proxy, secured_broker, secured_proxy
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.fixtures import kube_cluster, kube_namespace

__all__ = ["kube_cluster", "kube_namespace", "plain_broker", "plain_proxy", "secured_broker", "secured_proxy"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that failed on a cluster comes what the cluster's processes wrote last."""
    report = yield
    if report.failed:
        for found in getattr(item, "funcargs", {}).values():
            if isinstance(found, Cluster):
                report.sections += [(f"the end of {name}'s log", log) for name, log in found.logs().items()]
    return report
