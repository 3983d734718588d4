"""A workflow's events as server-sent events: resumable by id, kept alive by comments, ended by an event `end`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from streamforge.manager.api.problems import ProblemError
from streamforge.manager.engine.persistence.event_history import HistoryEvent
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.errors import StreamForgeError

_RECONNECT_MS = 2000


class Followers:
    """Bounds how many event streams are open at once, and ends them when the server closes."""

    def __init__(self, limit: int, retry_after_s: float) -> None:
        self._limit = limit
        self._retry_after_s = retry_after_s
        self._open = 0
        self.closing = asyncio.Event()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open

    def enter(self) -> None:
        """Raises ProblemError (503) at the limit."""
        if self._open >= self._limit:
            raise ProblemError(
                503,
                "busy",
                f"{self._limit} event streams are open, the limit of this server",
                next_step="try again after Retry-After, or read GET /queues/{queue_id}/events page by page",
                retry_after=self._retry_after_s,
            )
        self._open += 1

    def leave(self) -> None:
        """One has ended."""
        self._open -= 1


async def stream(
    service: WorkflowService, queue_id: str, *, after: int, keep_alive_s: float, closing: asyncio.Event
) -> AsyncIterator[bytes]:
    """The text of the event stream. The last event has the name `end` and the workflow's status as its data.

    A failure of the service, or the server's end, ends the stream without `end`: the client comes back with the last
    id it saw.
    """
    yield f"retry: {_RECONNECT_MS}\n\n".encode()
    source = service.follow(queue_id, after=after)
    waiting: asyncio.Future[HistoryEvent] | None = None
    closed: asyncio.Future[bool] = asyncio.ensure_future(closing.wait())
    try:
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(anext(source))
            futures: set[asyncio.Future[HistoryEvent] | asyncio.Future[bool]] = {waiting, closed}
            await asyncio.wait(futures, timeout=keep_alive_s, return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                return
            if not waiting.done():
                yield b": still here\n\n"
                continue
            finished, waiting = waiting, None
            try:
                event = finished.result()
            except StopAsyncIteration:
                break
            yield frame(event.body, event.id)
        found = await service.get(queue_id)
        yield frame(msgspec.json.encode({"queue_id": queue_id, "status": found.status.value}), name="end")
    except StreamForgeError:
        return
    finally:
        closed.cancel()
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait({waiting})
        if (close := getattr(source, "aclose", None)) is not None:
            await close()


def frame(data: bytes, number: int | str | None = None, *, name: str | None = None) -> bytes:
    """One event of the stream."""
    lines = []
    if name is not None:
        lines.append(b"event: " + name.encode())
    if number is not None:
        lines.append(f"id: {number}".encode())
    lines.extend(b"data: " + line for line in data.splitlines())
    return b"\n".join(lines) + b"\n\n"
