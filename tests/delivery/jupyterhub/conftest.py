"""Fixtures of JupyterHub's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.delivery.jupyterhub.serving import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A queue-manager that holds a day; tests only read it."""
    with serving(tmp_path_factory.mktemp("served") / "data") as found:
        yield found
