"""The random killer of loaders, sinks and the manager, on the secured broker: a few kills, and many."""

from pathlib import Path

import httpx

from tests.chaos.test_random_killer import *  # noqa: F403 - every test and fixture of it
from tests.chaos.test_random_killer import survive

QUICK = frozenset({"test_a_few_kills_cost_nothing"})


async def test_a_few_kills_cost_nothing(tmp_path: Path, client: httpx.AsyncClient) -> None:
    await survive(tmp_path, client, kills=6, freezes=0, absence_s=None)
