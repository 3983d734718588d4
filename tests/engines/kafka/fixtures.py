"""Brokers as pytest fixtures: one plain, one secured, for a whole session; started when a test first asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.kafka.broker import Broker
from tests.engines.proxy import Proxy


@pytest.fixture(scope="session")
def plain_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker without security, shared: a test uses topics and groups of its own and leaves the broker running."""
    yield from _running(Broker(tmp_path_factory.mktemp("plain-broker")))


@pytest.fixture(scope="session")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker with TLS, SCRAM and ACLs, shared: a test uses topics, groups and users of its own."""
    yield from _running(Broker(tmp_path_factory.mktemp("secured-broker"), secured=True))


@pytest.fixture
def plain_proxy(plain_broker: Broker) -> Iterator[Proxy]:
    """A proxy in front of the plain broker; clients use `plain_broker.proxied_bootstrap`."""
    with plain_broker.proxy() as found:
        yield found


@pytest.fixture
def secured_proxy(secured_broker: Broker) -> Iterator[Proxy]:
    """A proxy in front of the secured broker."""
    with secured_broker.proxy() as found:
        yield found


def _running(broker: Broker) -> Iterator[Broker]:
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
