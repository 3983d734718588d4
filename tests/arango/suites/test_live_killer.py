"""The random killer of live loaders, sinks, the manager and the exchange, on ArangoDB; each kind strikes, seldom."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.live_killer import SERIES, WEIGHTS, survive
from tests.chaos.test_random_killer import SEED


@pytest.mark.long
async def test_nothing_that_happens_is_lost_duplicated_or_stuck(tmp_path: Path) -> None:
    print(f"\n{await survive(tmp_path, kills=sum(WEIGHTS.values()), seed=SEED, series=SERIES[:3])}")
