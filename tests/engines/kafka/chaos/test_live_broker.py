"""The broker is killed in the middle of live workflows, and so are their loaders, sinks, manager and exchange."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.test_random_killer import SEED
from tests.engines.kafka.chaos.live_broker import WEIGHTS, survive_on_kafka


async def test_nothing_that_happens_is_lost_duplicated_or_stuck(tmp_path: Path) -> None:
    print(f"\n{await survive_on_kafka(tmp_path, kills=sum(WEIGHTS.values()), seed=SEED)}")
