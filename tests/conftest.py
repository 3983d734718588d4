"""What all tests share: property tests that a busy machine may take its time for, and the guards of `make test`."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from streamforge.manager.workflows.all_forms import register_forms
from tests import guards

settings.register_profile("patient", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", parent=settings.get_profile("patient"), max_examples=20)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    guards.install()
    config.pluginmanager.register(guards)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a test, or a command in its process, sets for the logs is undone: the next test may capture them."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Cycles are left alone: what is in one stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


register_forms()
