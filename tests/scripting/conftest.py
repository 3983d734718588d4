"""Fixtures of the tests of `streamforge.read` and `streamforge.load`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import _no_settings as _no_settings
from tests.cli.conftest import exchange_url as exchange_url
from tests.cli.conftest import loaded_data as loaded_data
from tests.cli.conftest import slow_url as slow_url
from tests.cli.support import manager


@pytest.fixture(scope="session")
def server(loaded_data: Path, exchange_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a manager that holds what `loaded_data` does; tests only read it."""
    data = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(loaded_data, data)
    with manager(data, exchange_url) as (_, told):
        yield told["url"]
