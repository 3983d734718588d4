"""A manager in front of which the feed ticks as fast as a benchmark wants. `python -m benchmarks.ui.ticking MANAGER_URL
WORKFLOWS HERTZ` prints its address, and passes everything on but the feed: there each of so many workflows changes so
many times a second, from `POST /ticks/start` to `POST /ticks/stop`, which answers how many ticks there were."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {"connection", "content-encoding", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


class Ticking:
    """number: of the last tick, whose workflows have as many records."""

    def __init__(self, session: aiohttp.ClientSession, manager: str, workflows: int, hertz: float) -> None:
        self._session, self._manager, self._workflows, self._every_s = session, manager, workflows, 1 / hertz
        self._readers: set[web.StreamResponse] = set()
        self._task: asyncio.Task[None] | None = None
        self.number = self._first = 0

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """What the manager answers."""
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        target = self._manager + request.raw_path
        async with self._session.request(request.method, target, headers=headers, data=await request.read()) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """The feed until its reader leaves."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        await response.write(_event("open", 0, {"resumed": False}))
        self._readers.add(response)
        try:
            while True:
                await asyncio.sleep(5)
                await response.write(b": still here\n\n")
        except ConnectionError:
            return response
        finally:
            self._readers.discard(response)

    async def start(self, _: web.Request) -> web.StreamResponse:
        """Tick from now on. 409: nobody reads the feed."""
        if not self._readers:
            raise web.HTTPConflict(text="nobody reads the feed")
        query = {"limit": str(self._workflows)}
        async with self._session.get(f"{self._manager}/queues", params=query) as answer:
            rows = (await answer.json())["queues"]
        self._first = self.number
        self._task = asyncio.create_task(self._tick(rows))
        return web.json_response({"workflows": len(rows)})

    async def stop(self, _: web.Request) -> web.StreamResponse:
        """Stop; how many ticks there were since the start, and the number of the last."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return web.json_response({"ticks": self.number - self._first, "last": self.number})

    async def _tick(self, rows: list[dict[str, Any]]) -> None:
        due = time.monotonic()
        while True:
            self.number += 1
            text = b""
            for place, row in enumerate(rows):
                row["progress"].update(records_stored=self.number, rate=float(self.number))
                text += _event("workflow", self.number * len(rows) + place, row)
            for reader in list(self._readers):
                await reader.write(text)
            due += self._every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def _event(name: str, number: int, data: object) -> bytes:
    return f"event: {name}\nid: 00000000-{number}\ndata: {json.dumps(data)}\n\n".encode()


async def _main(manager: str, workflows: int, hertz: float) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        ticking = Ticking(session, manager, workflows, hertz)
        app = web.Application()
        app.router.add_get("/feed", ticking.feed)
        app.router.add_post("/ticks/start", ticking.start)
        app.router.add_post("/ticks/stop", ticking.stop)
        app.router.add_route("*", "/{path:.*}", ticking.pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
