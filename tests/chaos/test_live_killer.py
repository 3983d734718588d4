"""A random killer of loaders, sinks, the manager and the exchange leaves live workflows without a hole and a double.

STREAMFORGE_CHAOS_SEED: which schedule. `python -m tests.chaos` kills any number of times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.live_killer import SERIES, survive
from tests.chaos.test_random_killer import SEED

KILLS = 150
FEW = {"loader": 8, "sink": 8, "both": 2, "manager": 2, "terminate": 2, "exchange": 2}
"""With those of the other suites that are not long, more than 150 kills."""


async def test_a_few_kills_of_everything_cost_live_workflows_nothing(tmp_path: Path) -> None:
    kills = sum(FEW.values())
    print(f"\n{await survive(tmp_path, kills=kills, seed=SEED, weights=FEW, freezes=0, series=SERIES[:4])}")


@pytest.mark.long
async def test_nothing_that_happens_is_lost_duplicated_or_stuck(tmp_path: Path) -> None:
    print(f"\n{await survive(tmp_path, kills=KILLS, seed=SEED)}")
