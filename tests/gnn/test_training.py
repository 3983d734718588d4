"""gnn-trainer with a network whose training has no end: it is asked, and stopped, all the same."""

from __future__ import annotations

from pathlib import Path

from tests.gnn.endless import stop_an_endless_training


async def test_a_training_without_an_end_answers_a_ping_and_is_stopped(tmp_path: Path) -> None:
    # Nothing but being killed ends it. How soon that comes is measured where nothing else runs: a benchmark.
    print(f"stopped in {await stop_an_endless_training(tmp_path, 2):.2f} s")
