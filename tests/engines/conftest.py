"""Fixtures of the tests on real engines, which fail, never skip, where an engine cannot start.

Those that need others' schemas skip without them, unless STREAMFORGE_REQUIRE_SCHEMAS is set (tests/places.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator

import pytest

from streamforge_utils.adapters.kafka import kafka_client, kafka_consumer
from tests.engines.kafka.buses import plain_broker, plain_proxy, secured_broker, secured_proxy
from tests.engines.kubernetes.cluster import Cluster
from tests.limits import LIMIT_S

__all__ = ["plain_broker", "plain_proxy", "secured_broker", "secured_proxy"]


@pytest.fixture(scope="session")
def kube_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster, shared: a test uses namespaces of its own and leaves all of it running."""
    cluster = Cluster(tmp_path_factory.mktemp("kubernetes"))
    cluster.start()
    try:
        yield cluster
        cluster.check()
    finally:
        cluster.stop()


@pytest.fixture
def kube_namespace(kube_cluster: Cluster) -> Iterator[str]:
    """A namespace with Pod Security `restricted`, deleted after the test."""
    name = f"test-{secrets.token_hex(4)}"
    kube_cluster.create_namespace(name)
    try:
        yield name
    finally:
        kube_cluster.delete_namespace(name)


@pytest.fixture(autouse=True)
def _patient_clients(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a broker on a busy machine answer a first call late, but where a test is about one that does not answer."""
    if request.node.get_closest_marker("unreachable") is None:
        for module in (kafka_client, kafka_consumer):
            monkeypatch.setattr(module, "FIRST_CONTACT_S", LIMIT_S)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a test that failed on a cluster comes what the cluster's processes wrote last."""
    report = yield
    if report.failed:
        for found in getattr(item, "funcargs", {}).values():
            if isinstance(found, Cluster):
                report.sections += [(f"the end of {name}'s log", log) for name, log in found.logs().items()]
    return report
