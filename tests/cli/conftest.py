"""Fixtures of the command line's tests."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from streamforge.cli import client
from tests import cleanenv
from tests.cli import support
from tests.cli.support import Cli, process
from tests.limits import LIMIT_S
from tests.runtime.conftest import rig as rig


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a command."""
    cleanenv.clean(monkeypatch, "STREAMFORGE_REQUIRE_MARKET_DATA")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a server, which may be in this very process, answers late."""
    monkeypatch.setattr(client, "HEALTH_S", LIMIT_S)


@pytest.fixture(autouse=True)
def _only_warnings() -> Iterator[None]:
    """A manager within a command's own process logs as it does there: warnings."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def exchange_url() -> Iterator[str]:
    """A test exchange for all tests of a process."""
    with support.exchange() as url:
        yield url


@pytest.fixture(scope="session")
def slow_url() -> Iterator[str]:
    """An exchange that takes its time, so that there is something to interrupt."""
    with support.exchange("--fault", "slow:ms=200,path=klines") as url:
        yield url


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, exchange_url: str) -> Cli:
    """The command on a fresh data directory."""
    return Cli(capsys, tmp_path / "data", exchange_url)


@pytest.fixture(scope="session")
def loaded_data(exchange_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the first six hours of 2024-08-01; tests only read it."""
    data = tmp_path_factory.mktemp("loaded") / "data"
    with process(
        "load", "BTCUSDT", support.TYPE, "2024-08-01:2024-08-01T06:00Z", "--data", str(data), "--exchange", exchange_url
    ) as started:
        support.finished(started).ok()
    return data


@pytest.fixture
def copied(capsys: pytest.CaptureFixture[str], loaded_data: Path, exchange_url: str, tmp_path: Path) -> Cli:
    """The command on a copy of `loaded_data`."""
    shutil.copytree(loaded_data, tmp_path / "copy")
    return Cli(capsys, tmp_path / "copy", exchange_url)


@pytest.fixture
def loaded(capsys: pytest.CaptureFixture[str], loaded_data: Path, exchange_url: str) -> Cli:
    """The command on `loaded_data`."""
    return Cli(capsys, loaded_data, exchange_url)
