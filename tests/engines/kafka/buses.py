"""Brokers as pytest fixtures, and buses on them, here and in another process.

One broker is plain, one secured, for a whole session; each is started when a test first asks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login, Role
from streamforge_utils.model.secret import Secret
from tests.engines.kafka.broker import Broker, User
from tests.engines.proxy import Proxy


def connection(
    broker: Broker, user: User | None = None, *, proxied: bool = False, ca: Path | None = None
) -> Connection:
    """The way to a broker. user: the administrator by default. ca: another file than the broker's."""
    servers = broker.proxied_bootstrap if proxied else broker.bootstrap
    who = user or broker.admin
    if who is None:
        return Connection(bootstrap_servers=servers)
    login = Login(user=who.name, password=Secret(who.password))
    return Connection(
        bootstrap_servers=servers,
        security_protocol="SASL_SSL",
        ca_path=ca or broker.ca_path,
        logins=dict.fromkeys(Role, login),
    )


def told(broker: Broker) -> tuple[str, str]:
    """What another process needs to make the bus: the factory, and its argument (which holds no password)."""
    if broker.admin is None:
        return f"{__name__}:remote", json.dumps({"servers": broker.bootstrap})
    os.environ["STREAMFORGE_TEST_PASSWORD"] = broker.admin.password
    return f"{__name__}:remote", json.dumps(
        {"servers": broker.bootstrap, "user": broker.admin.name, "ca": str(broker.ca_path)}
    )


def remote(text: str) -> KafkaBus:
    """The bus that `told` speaks of."""
    about: dict[str, str] = json.loads(text)
    if "user" not in about:
        return KafkaBus(Connection(bootstrap_servers=about["servers"]))
    login = Login(user=about["user"], password=Secret(os.environ["STREAMFORGE_TEST_PASSWORD"]))
    return KafkaBus(
        Connection(
            bootstrap_servers=about["servers"],
            security_protocol="SASL_SSL",
            ca_path=Path(about["ca"]),
            logins=dict.fromkeys(Role, login),
        )
    )


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
