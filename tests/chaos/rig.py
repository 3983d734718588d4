"""A manager, its workers and the test exchange as real processes; a keeper restarts the manager as init would."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests import backends
from tests.chaos import processes
from tests.e2e.exchangeprocess import exchange
from tests.limits import LIMIT_S

UP_WITHIN_S = LIMIT_S
ANSWER_WITHIN_S = LIMIT_S


class ManagerKeeper:
    """One data directory's manager. url: where it serves; None while it is down or not yet up.

    before: a command that each manager is started through (`unshare …`); its process becomes the manager's.
    """

    def __init__(
        self,
        data: Path,
        log: Path,
        environment: Mapping[str, str],
        *,
        before: Sequence[str] = (),
    ) -> None:
        self.data, self.log = data, log
        self.url: str | None = None
        self.generation = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._before = tuple(before)
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "STREAMFORGE_DATA_DIR": str(data),
            "STREAMFORGE_PORT": "0",
            "STREAMFORGE_METRICS_PORT": "0",
            "PYTHONFAULTHANDLER": "1",
            **backends.environment(data),
            **environment,
        }

    async def up(self) -> None:
        """Start a manager and wait until it serves. Raises AssertionError if it does not; returns early if killed."""
        assert self.process is None or self.process.poll() is not None, "the manager runs already"
        self.generation += 1
        with self.log.open("ab") as log:
            self.process = process = subprocess.Popen(  # noqa: ASYNC220 (it is polled, as its end is no event here)
                [*self._before, sys.executable, "-P", "-m", "streamforge.manager"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(UP_WITHIN_S):
                while (url := self._advertised(process.pid)) is None:
                    if (code := process.poll()) is not None:
                        assert code == -signal.SIGKILL, f"the manager ended with {code}:\n{self.tail()}"
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"the manager was not up within {UP_WITHIN_S:.0f} s:\n{self.tail()}") from None
        if self.process is process and process.poll() is None:
            self.url = url

    async def kill(self) -> bool:
        """SIGKILL; whether it was alive."""
        self.url = None
        process = self.process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        await asyncio.to_thread(process.wait, LIMIT_S)
        return True

    async def down(self) -> int:
        """SIGTERM, and its exit code."""
        self.url = None
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, LIMIT_S)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    async def autopsy(self) -> str:
        """End the manager so that it writes where its threads are, and what the log ends with."""
        self.url = None
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGABRT)
            await asyncio.to_thread(self.process.wait, LIMIT_S)
        return self.tail()

    def _advertised(self, pid: int) -> str | None:
        # As the process sees it: it may have a file system of its own there.
        try:
            told = msgspec.json.decode(Path(f"/proc/{pid}/root{self.data}/server.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return str(told["url"]) if told["pid"] == pid else None


class Api:
    """The API of a manager that may be down at any moment: what is asked is asked again until it answers."""

    def __init__(self, keeper: ManagerKeeper, client: httpx.AsyncClient) -> None:
        self._keeper = keeper
        self._client = client

    async def ask(self, method: str, path: str, *, within_s: float = LIMIT_S, **request: Any) -> Any:
        """The JSON of a 2xx answer. Raises AssertionError for a 4xx, or if none came within the limit."""
        trouble: object = "the manager is down"
        try:
            async with asyncio.timeout(within_s):
                while True:
                    if (url := self._keeper.url) is not None:
                        try:
                            answer = await self._client.request(method, url + path, **request)
                        except httpx.TransportError as error:
                            trouble = repr(error)
                        else:
                            if answer.is_success:
                                return answer.json()
                            assert answer.status_code >= 500, f"{method} {path}: {answer.status_code} {answer.text}"
                            trouble = answer.text
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{method} {path} was not answered within {within_s:.0f} s: {trouble}") from None

    async def start(self, key: str, **request: str | dict[str, Any]) -> str:
        """Start a workflow, again under the same key until it is accepted; its queue_id."""
        found = await self.ask("POST", "/queues/start", json=request, headers={"Idempotency-Key": key})
        return str(found["queue_id"])

    async def show(self, queue_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("GET", f"/queues/{queue_id}")
        return found

    async def events(self, queue_id: str) -> list[dict[str, Any]]:
        """The whole history, oldest first."""
        events: list[dict[str, Any]] = []
        after = -1
        while True:
            page = await self.ask("GET", f"/queues/{queue_id}/events", params={"after": after})
            events += [entry["event"] for entry in page["events"]]
            if not page["more"]:
                return events
            after = page["after"]

    async def ready(self) -> str:
        """What the manager says of its parts, also where that is bad."""
        url = self._keeper.url
        return "down" if url is None else (await self._client.get(f"{url}/readyz")).text

    async def until_ended(self, queue_ids: Sequence[str], within_s: float) -> dict[str, dict[str, Any]]:
        """The workflows once all have ended. Raises AssertionError naming those that have not."""
        found: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(within_s):
                while True:
                    for queue_id in queue_ids:
                        if queue_id not in found or found[queue_id]["ended_at"] is None:
                            found[queue_id] = await self.show(queue_id)
                    if all(workflow["ended_at"] is not None for workflow in found.values()):
                        return found
                    await asyncio.sleep(0.2)
        except TimeoutError:
            stuck = [_short(workflow) for workflow in found.values() if workflow["ended_at"] is None]
            ready = await self.ready()
            raise AssertionError(f"not ended within {within_s:.0f} s: {stuck}; ready: {ready}") from None


def _short(workflow: Mapping[str, Any]) -> object:
    return {
        "queue_id": workflow["queue_id"],
        "status": workflow["status"],
        "waiting_for": workflow["waiting_for"],
        "steps": [(s["target"], s["status"], s["attempts"][-1] if s["attempts"] else None) for s in workflow["steps"]],
    }


@asynccontextmanager
async def exchange_process(*arguments: str) -> AsyncIterator[str]:
    """The test exchange as a process of its own, without limits; its URL."""
    with exchange("--no-limits", *arguments) as found:
        yield found.url


async def clean_up(keeper: ManagerKeeper) -> None:
    """Leave nothing running, however the test ended."""
    await keeper.kill()
    for _ in range(100):
        left = processes.of_data(keeper.data)
        for pid in left:
            processes.kill(pid, keeper.data, signal.SIGKILL)
        if not left:
            return
        await asyncio.sleep(0.05)
