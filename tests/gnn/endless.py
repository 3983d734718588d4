"""A gnn-trainer whose network learns for ever."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from streamforge.workers.gnn_trainer import DEFINITION
from tests.limits import LIMIT_S
from tests.runtime.rig import last, until
from tests.workers.trainer_rig import TrainerRig, checkpoints, children, is_alive

_EPOCH = re.compile(
    r"training: \d+ of 66 parts are there, .*; epoch \d+ of at most 100000 of no_edges, seed 0, fold [123]'"
)


async def stop_an_endless_training(folder: Path, processes: int) -> float:
    """Ask it, stop it in the midst of learning, and see that nothing is left; the seconds that the stop took."""
    rig = TrainerRig(folder)
    rig.environment |= {
        "STREAMFORGE_MODEL": "gat",
        "STREAMFORGE_EPOCHS": "100000",
        "STREAMFORGE_PATIENCE": "100000",
        "STREAMFORGE_PROCESSES": str(processes),
    }
    await rig.prepare()
    await rig.fill()
    running = asyncio.create_task(rig.live(DEFINITION))
    await until(lambda: any("/lightgbm-1-" in name for name in checkpoints(rig)))
    (child,) = children()
    learning = children(child, b"--multiprocessing-fork")
    assert len(learning) == processes
    async with asyncio.timeout(LIMIT_S):
        while not any(_EPOCH.search(str(one.extra)) for one in await rig.events()):
            pass
    await rig.command("ping")
    await rig.until_event("pong")
    began = time.monotonic()
    await rig.command("stop")
    assert await running == 0
    took_s = time.monotonic() - began
    assert last(await rig.events())[0].event == "interrupted"
    assert not children()
    await until(lambda: not any(is_alive(one) for one in learning))
    assert all("/checkpoints/" in name for name in await rig.names())
    await rig.close()
    return took_s
