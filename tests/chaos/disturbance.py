"""Workflows that go on while something disturbs them, and what came of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.chaos.rig import Api, ManagerKeeper, clean_up
from tests.chaos.workload import AT_ONCE, keep_busy

SEEDS = [int(text) for text in os.environ.get("STREAMFORGE_CHAOS_SEEDS", "1,2").split(",")]
"""Which schedules of breaks."""
ROUNDS = int(os.environ.get("STREAMFORGE_CHAOS_BREAKS", "1"))
"""How many rounds of breaks each of them has; more for a soak."""

BREAKING = {
    "STREAMFORGE_HEARTBEAT_SECONDS": "0.2",
    "STREAMFORGE_SILENT_SECONDS": "12",
    "STREAMFORGE_STUCK_SECONDS": "30",
    "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000",
}
"""Settings of a manager whose bus or store is broken."""


class Survivors(NamedTuple):
    """The workflows, all ended. disturbed_s: how long they were disturbed; took_s: until the last had ended."""

    workflows: dict[str, Any]
    disturbed_s: float
    took_s: float

    def summary(self, rows: int) -> str:
        """For a person. rows: how many were stored."""
        attempts = sum(len(step["attempts"]) for workflow in self.workflows.values() for step in workflow["steps"])
        return (
            f"in {self.disturbed_s:.0f} s, ended after {self.took_s:.0f} s; {len(self.workflows)} workflows, "
            f"{attempts} attempts, {rows} rows, {sum(one['repairs'] for one in self.workflows.values())} repairs"
        )


@asynccontextmanager
async def running(keeper: ManagerKeeper, story: Callable[[], Sequence[str]]) -> AsyncIterator[None]:
    """The manager is up; afterwards nothing of it is left. story: what a failure should tell beside the log's end."""
    try:
        await keeper.up()
        yield
    except BaseException as error:
        for note in (*story(), f"the manager's log ends with:\n{await keeper.autopsy()}"):
            error.add_note(note)
        raise
    finally:
        await clean_up(keeper)


async def disturb(
    api: Api,
    client: httpx.AsyncClient,
    exchange: str,
    disturbing: Coroutine[Any, Any, None],
    *,
    seed: int,
    at_once: int = AT_ONCE,
    watching: Sequence[Coroutine[Any, Any, None]],
    within_s: float,
) -> Survivors:
    """Keep the manager busy until `disturbing` is done, then let the workflows end on a quiet exchange.

    watching: looks at it all the time, and raises what must not be. within_s: for the end of the last workflow.
    """
    queue_ids: list[str] = []
    began = time.monotonic()
    disturber = asyncio.create_task(disturbing, name="disturbance")
    working = asyncio.create_task(keep_busy(api, seed, queue_ids, at_once=at_once), name="work")
    watchers = [asyncio.create_task(one, name="watcher") for one in watching]
    try:
        done, _ = await asyncio.wait({disturber, working, *watchers}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
        assert disturber in done, "there was no work left to be disturbed"
        disturbed_s = time.monotonic() - began
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        (await client.delete(f"{exchange}/control/faults")).raise_for_status()
        workflows = await api.until_ended(queue_ids, within_s)
        return Survivors(workflows, disturbed_s, time.monotonic() - began)
    finally:
        for task in (disturber, working, *watchers):
            task.cancel()
        await asyncio.gather(disturber, working, *watchers, return_exceptions=True)
