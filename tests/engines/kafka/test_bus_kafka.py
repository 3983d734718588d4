"""Kafka keeps the contract of the bus, plain and secured."""

from __future__ import annotations

import pytest

from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus
from tests.contracts.bus import BusContract, BusFixtures, BusGroupContract, Factory, MakeBus
from tests.contracts.bus_draining import BusDrainingContract
from tests.engines.kafka import buses
from tests.engines.kafka.broker import Broker


class Kafka(BusFixtures):
    patience_s = 15.0
    takeover_s = 15.0  # the session of a killed member lasts 6 s
    hands_over_in_poll = True

    @pytest.fixture
    def broker(self) -> Broker:
        raise NotImplementedError("say which broker")

    @pytest.fixture
    def make_bus(self, broker: Broker) -> MakeBus:
        return lambda: KafkaBus(buses.connection(broker))

    @pytest.fixture
    def factory(self, broker: Broker) -> Factory:
        return buses.told(broker)


class Plain(Kafka):
    @pytest.fixture
    def broker(self, plain_broker: Broker) -> Broker:
        return plain_broker


class Secured(Kafka):
    @pytest.fixture
    def broker(self, secured_broker: Broker) -> Broker:
        return secured_broker


@pytest.mark.long
class TestPlainKafkaBus(Plain, BusContract):
    pass


@pytest.mark.long
class TestPlainKafkaBusGroups(Plain, BusGroupContract):
    pass


class TestSecuredKafkaBus(Secured, BusContract):
    pass


class TestSecuredKafkaBusGroups(Secured, BusGroupContract):
    pass


class TestPlainKafkaBusDraining(Plain, BusDrainingContract):
    pass
