"""The manager dies at every call of its ports, one after another; the next one goes on on the same data.

`make test-double` tells it of ArangoDB as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamforge.manager.engine.execution import reconciler
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.chaos.crash import World
from tests.chaos.story import die_at_calls, new_exchange


@asynccontextmanager
async def _world(folder: Path) -> AsyncIterator[World]:
    yield World(folder, new_exchange(), lambda: EmbeddedStore(folder / "store"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("stop", "sample"), [(False, 30), (True, 15)], ids=["finished", "stopped"])
async def test_a_manager_that_dies_at_any_call_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: bool, sample: int
) -> None:
    monkeypatch.setattr(reconciler.Reconciler, "LOOK_EVERY_S", 0.1)
    await die_at_calls(tmp_path, _world, stop=stop, sample=sample)
