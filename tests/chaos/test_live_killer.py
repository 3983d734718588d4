"""A random killer of loaders, sinks, the manager and the exchange leaves live workflows without a hole and a double.

STREAMFORGE_CHAOS_SEED: which schedule. `python -m tests.chaos` kills any number of times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.live_killer import survive
from tests.chaos.test_random_killer import SEED

KILLS = 150


@pytest.mark.long
async def test_nothing_that_happens_is_lost_duplicated_or_stuck(tmp_path: Path) -> None:
    print(f"\n{await survive(tmp_path, kills=KILLS, seed=SEED)}")
