"""What a busy manager hears and is asked beside other requests: heartbeats of all its workers every few seconds, and
readers of the feed. `python -m benchmarks.common.crowd DATA URL READERS` prints `ready`, goes on until its stdin ends,
and then prints how many events each reader has got."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from streamforge import wiring
from streamforge_utils.model.messages import Event, encode_event
from streamforge_utils.model.names import telemetry_id
from streamforge_utils.ports.bus import Message, Producer
from streamforge_utils.runtime.life.settings import DataSettings

HEARTBEAT_S = 3.0
TARGETS = ("loader-api-candles", "arango-candles")


async def _main(data: Path, url: str, readers: int) -> None:
    bus = wiring.make_bus(DataSettings(data_dir=data))
    producer = await bus.producer()
    counts = [0] * readers
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        queue_ids = await _queue_ids(session, url)
        await _beat(producer, queue_ids, "started", 0)
        tasks = [asyncio.create_task(_read(session, url, counts, number)) for number in range(readers)]
        tasks.append(asyncio.create_task(_beats(producer, queue_ids)))
        while min(counts, default=1) == 0:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.05)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for task in tasks:
            if task.done():
                task.result()  # what ended it
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await producer.close()
    await bus.close()
    print(json.dumps(counts), flush=True)


async def _queue_ids(session: aiohttp.ClientSession, url: str) -> list[str]:
    found: list[str] = []
    query: dict[str, Any] = {"limit": 1000}
    while True:
        async with session.get(f"{url}/queues", params=query) as answer:
            page = await answer.json()
        found += [one["queue_id"] for one in page["queues"] if one["status"] == "running"]
        if page["cursor"] is None:
            return found
        query["cursor"] = page["cursor"]


async def _beats(producer: Producer, queue_ids: list[str]) -> None:
    number = 0
    while True:
        number += 1
        began = time.monotonic()
        await _beat(producer, queue_ids, "loading", number)
        await asyncio.sleep(max(0.0, HEARTBEAT_S - (time.monotonic() - began)))


async def _beat(producer: Producer, queue_ids: list[str], word: Any, number: int) -> None:
    """Let every worker speak, spread over the time between two heartbeats."""
    for queue_id in queue_ids:
        events = [
            Event(
                event=word,
                status=word,
                queue_id=queue_id,
                producer=telemetry_id(target, queue_id),
                target=target,
                timestamp=time.time(),
                records_written=number,
                extra={"records": number, "rate": 1.0, "position": 1577836800000 + number * 60_000},
            )
            for target in TARGETS
        ]
        await producer.send("queue-events", [Message(queue_id.encode(), encode_event(event)) for event in events])
        if word == "loading":
            await asyncio.sleep(0.8 * HEARTBEAT_S / len(queue_ids))


async def _read(session: aiohttp.ClientSession, url: str, counts: list[int], number: int) -> None:
    async with session.get(f"{url}/feed", params={"client": f"browser-{number}"}) as answer:
        answer.raise_for_status()
        async for part in answer.content.iter_any():
            counts[number] += part.count(b"event: workflow\n")
    raise RuntimeError("the feed has ended")


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
