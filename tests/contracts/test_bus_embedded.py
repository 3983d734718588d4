"""The embedded bus keeps the contract of the bus."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus
from tests.contracts.bus import BusContract, BusFixtures, BusGroupContract, Factory, MakeBus
from tests.contracts.bus_draining import BusDrainingContract
from tests.contracts.exclusions import SHARED, SPREAD, without


def make(directory: str) -> EmbeddedBus:
    return EmbeddedBus(Path(directory))


class Embedded(BusFixtures):
    @pytest.fixture
    def make_bus(self, tmp_path: Path) -> MakeBus:
        return lambda: EmbeddedBus(tmp_path / "bus")

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return f"{__name__}:make", str(tmp_path / "bus")


@without(SPREAD)
class TestEmbeddedBus(Embedded, BusContract):
    pass


@without(SHARED)
class TestEmbeddedBusGroups(Embedded, BusGroupContract):
    pass


class TestEmbeddedBusDraining(Embedded, BusDrainingContract):
    pass
