"""A store that takes 200 ms for every answer slows the reader, that one the loader, and nothing grows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from benchmarks.arango.servers import responder
from benchmarks.common.processes import ended, exchange, resident_mb, worker
from benchmarks.common.workflow import LOADER, SINK, Workflow, read_all
from streamforge import wiring
from streamforge_utils.model.messages import Event
from streamforge_utils.runtime.life.settings import EVENTS_TOPIC

CANDLES, TOPIC_BYTES = 400_000, 10_000_000
GROWTH_MB, MOST_MB = 25.0, 130.0


def test_a_slow_store_slows_the_reader_and_grows_nothing(tmp_path: Path) -> None:
    memory: dict[str, list[float]] = {SINK: [], LOADER: []}
    with exchange() as url, responder(delay_s=0.2) as server:
        workflow = Workflow(tmp_path, CANDLES, arango=server.settings)
        asyncio.run(_prepare(workflow))
        more = {"STREAMFORGE_HEARTBEAT_SECONDS": "0.1"}
        with (
            ended(worker(SINK, workflow.settings(**more))) as sink,
            ended(worker(LOADER, workflow.settings(STREAMFORGE_EXCHANGE_URL=url, **more))) as loader,
        ):
            processes = {SINK: sink, LOADER: loader}
            while any(process.poll() is None for process in processes.values()):
                for target, process in processes.items():
                    if megabytes := resident_mb(process.pid):
                        memory[target].append(megabytes)
                time.sleep(0.05)
            assert [process.returncode for process in processes.values()] == [0, 0]
    events = asyncio.run(_events(workflow))
    loading = [event for event in events if event.target == LOADER and event.event == "loading"]
    progress = [(event.extra or {}) for event in loading]
    assert any("is full" in str(one.get("waiting")) for one in progress), "the loader never waited"
    # The topic has room for some 20,000; what the sink has read and not committed counts too. Without the cap the
    # loader is through with nearly everything before the store has a quarter.
    assert max(one.get("lag") or 0 for one in progress) < CANDLES / 2
    assert [event.records_written for event in events if event.finished] == [CANDLES, CANDLES]
    for target, samples in memory.items():
        third = len(samples) // 3
        assert max(samples) < MOST_MB, target
        assert max(samples[-third:]) - max(samples[third : 2 * third]) < GROWTH_MB, target


async def _prepare(workflow: Workflow) -> None:
    bus = wiring.make_bus(workflow.data)
    await workflow.make_topics(bus, TOPIC_BYTES)
    await bus.close()


async def _events(workflow: Workflow) -> list[Event]:
    bus = wiring.make_bus(workflow.data)
    there = (await bus.lag(EVENTS_TOPIC, "nobody-reads-this")).records
    received = await read_all(bus, EVENTS_TOPIC, there)
    await bus.close()
    return [msgspec.json.decode(one.value, type=Event) for one in received]
