"""A small client of queue-manager's HTTP API: JSON in and out, problems as errors, event streams that resume."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from streamforge.cli import terminal
from streamforge.cli.command_errors import ApiProblem, CliError, ServerLost, ServerSilent, UsageProblem
from streamforge.manager import answers

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
Query = Mapping[str, str | int | list[str]]

PAGE = 1000
"""How many items of a list are asked for at once."""
ANSWER_S = 60.0
CONNECT_S = 5.0
"""Of a server on another machine: on this one connecting takes longer only where this process itself is busy."""
SILENCE_S = 60.0
"""A stream without any byte for this long is broken: the server sends a comment four times as often."""
QUIET_S = 1.5
"""How often a server that has not answered yet is asked for its health."""
HEALTH_S = 1.5
"""How long the answer to that request may take."""
TRIES = 4
_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 10.0
_SHOWN = 100

_SAID_BY_COMMANDS = ("invalid-input", "not-found", "not-now", "incomplete")
"""Kinds of problems whose next step the command tells, not the server."""

SINCE_START = "--from START"
_SAID_HERE = {
    "GET /queues/{queue_id}": "streamforge show QUEUE_ID",
    "GET /queues": "streamforge queues",
    "GET /batches": "streamforge batch list",
    "GET /targets": "streamforge targets",
    "GET /symbols": "streamforge symbols",
    "GET /series": "streamforge series",
    "GET /schedules": "streamforge schedule list",
    "PATCH /schedules/{name}": "streamforge schedule change NAME",
    "`from`": SINCE_START,
    "`skip_unknown`": "--skip-unknown",
}
"""The commands and options that stand for the requests and fields which the server advises."""


class Api:
    """A server's API. Every call raises ServerLost, ApiProblem or CliError."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        process: int | None = None,
        say: Callable[[str], object] = terminal.say,
    ) -> None:
        """url: `http://HOST:PORT`. process: of the server, where it runs on this machine. say: prints a line.

        Raises UsageProblem for a URL that is none.
        """
        self.url = checked_url(url)
        self._process = process
        self._say = say
        self._token = token
        self._session: aiohttp.ClientSession | None = None
        self._connect_s: float | None = CONNECT_S
        self._answered = False

    async def __aenter__(self) -> Self:
        import aiohttp

        from streamforge.manager.api.tokens import is_loopback

        if is_loopback(urlsplit(self.url).hostname or ""):
            self._connect_s = None
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._session = aiohttp.ClientSession(headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, kind: type[T], query: Query | None = None) -> T:
        """The answer as `kind`."""
        return self.read(await self.call("GET", path, query=query), kind)

    async def post(self, path: str, kind: type[T], **more: Any) -> T:
        """The answer as `kind`. more: as `call` takes it."""
        return self.read(await self.call("POST", path, **more), kind)

    async def delete(self, path: str, **more: Any) -> bytes:
        """As `call`; nothing where it is gone already, as after a first try whose answer was lost."""
        try:
            return await self.call("DELETE", path, **more)
        except ApiProblem as error:
            if error.kind != "not-found":
                raise
            return b""

    async def pages(
        self, path: str, name: str, query: Query | None = None, limit: int | None = None, *, at_once: int = PAGE
    ) -> tuple[list[msgspec.Raw], bool]:
        """The items of a list under `name`, `limit` of them at most, and whether there are more."""
        items, cursor = list[msgspec.Raw](), None
        while limit is None or len(items) < limit:
            asked = {**(query or {}), "limit": at_once if limit is None else min(at_once, limit - len(items))}
            page = await self.get(
                path, dict[str, msgspec.Raw], asked if cursor is None else {**asked, "cursor": cursor}
            )
            items += msgspec.json.decode(page[name], type=list[msgspec.Raw])
            cursor = msgspec.json.decode(page.get("cursor", b"null"), type=str | None)
            if cursor is None:
                break
        return items, cursor is not None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        key: str | None = None,
        prefer: str | None = None,
        within_s: float = ANSWER_S,
        tries: int = TRIES,
    ) -> bytes:
        """The answer's body. key: an Idempotency-Key, which makes a POST safe to send again. prefer: as RFC 7240."""
        import aiohttp

        limits = aiohttp.ClientTimeout(total=within_s, sock_connect=self._connect_s)
        headers = {"Accept": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        if prefer is not None:
            headers["Prefer"] = prefer
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        safe = method in ("GET", "DELETE") or key is not None
        for tried in range(1, tries + 1):
            last = tried == tries
            try:
                async with self._request(
                    method, path, query=query, data=data, headers=headers, limits=limits
                ) as response:
                    return await response.read()
            except ApiProblem as error:
                if error.status != 503 or last or not safe:
                    raise
                pause = error.retry_after_s or _PAUSE_S
            except ServerLost as error:
                stopped = isinstance(error, ServerSilent) and self._process is not None  # there is no network to blame
                if last or not safe or stopped or not self._answered:
                    raise  # who never answered is more likely not there than busy
                pause = _PAUSE_S * 2 ** (tried - 1)
            await asyncio.sleep(min(pause, _LONGEST_PAUSE_S) * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        raise AssertionError("the last try raises")

    @asynccontextmanager
    async def stream(self, path: str, query: Query, accept: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer's body piece by piece; it fails where the server breaks off."""
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s, sock_read=SILENCE_S)
        async with self._request("GET", path, query=query, headers={"Accept": accept}, limits=limits) as response:

            async def pieces() -> AsyncIterator[bytes]:
                async for piece in response.content.iter_any():
                    yield piece

            yield pieces()

    async def follow(self, queue_id: str, *, after: int = -1) -> AsyncIterator[tuple[int, bytes]]:
        """The events of a workflow (id, JSON) after the event `after`, then what comes, until it has ended.

        A connection that breaks is opened again behind the last event that came; after `TRIES` failures it gives up.
        """
        failures = 0
        while True:
            try:
                async for name, number, data in self._events(queue_id, after):
                    failures = 0
                    if name == "end":
                        return
                    if number is not None:
                        after = number
                        yield number, data
            except ServerLost:
                failures += 1
                if failures >= TRIES:
                    raise
            except _NothingMore:
                return
            await asyncio.sleep(min(_PAUSE_S * 2**failures, _LONGEST_PAUSE_S) * random.uniform(0.8, 1.2))  # noqa: S311

    async def _events(self, queue_id: str, after: int) -> AsyncIterator[tuple[str, int | None, bytes]]:
        import aiohttp

        headers = {"Accept": "text/event-stream"}
        if after >= 0:
            headers["Last-Event-ID"] = str(after)
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s, sock_read=SILENCE_S)
        path = f"/queues/{queue_id}/events"
        async with self._request("GET", path, headers=headers, limits=limits) as response:
            if response.status == 204:
                raise _NothingMore
            name, number, data = "", None, list[bytes]()
            async for raw in response.content:
                line = raw.rstrip(b"\r\n")
                field, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if not line:
                    if data:
                        yield name, number, b"\n".join(data)
                    name, number, data = "", None, []
                elif field == b"event":
                    name = value.decode()
                elif field == b"id" and value.isdigit():
                    number = int(value)
                elif field == b"data":
                    data.append(value)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        limits: aiohttp.ClientTimeout,
        query: Query | None = None,
        data: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        assert self._session is not None, "used outside of its context"  # noqa: S101
        parameters = [(k, str(v)) for k, vs in (query or {}).items() for v in (vs if isinstance(vs, list) else [vs])]
        within_s = limits.total or limits.sock_read or ANSWER_S
        watch = asyncio.create_task(self._watch(within_s), name=f"silence of {self.url}")
        try:
            async with self._session.request(
                method, self.url + path, params=parameters, headers=headers, data=data, timeout=limits
            ) as response:
                watch.cancel()
                self._answered = True
                if response.status >= 400:
                    problem = problem_of(response.status, await response.read())
                    problem.retry_after_s = _seconds(response.headers.get("Retry-After"))
                    raise problem
                yield response
        except aiohttp.ConnectionTimeoutError as error:
            raise ServerLost(
                f"{self.url} takes no connection: is the address right, and the way there free?"
            ) from error
        except TimeoutError as error:
            raise self._silent(f"within {terminal.duration(within_s)} ({method} {path})") from error
        except aiohttp.ClientPayloadError as error:
            raise ServerLost(f"{self.url} broke off its answer ({method} {path}): try again, or see its log") from error
        except aiohttp.ClientError as error:
            raise ServerLost(
                f"no server answers at {self.url} ({_reason(error)}): start one with `streamforge up`, or correct "
                "--server"
            ) from error
        finally:
            watch.cancel()

    async def _watch(self, within_s: float) -> None:
        """Say that the server does not answer once it does not answer for its health either."""
        import aiohttp

        assert self._session is not None, "used outside of its context"  # noqa: S101
        limits = aiohttp.ClientTimeout(total=HEALTH_S)
        while True:
            await asyncio.sleep(QUIET_S)
            try:
                async with self._session.get(f"{self.url}/healthz", timeout=limits):
                    pass
            except TimeoutError:
                self._say(f"{self._name} does not answer, waiting up to {terminal.duration(within_s)}")
                return
            except aiohttp.ClientError:
                return  # the request itself says what is wrong

    @property
    def _name(self) -> str:
        return self.url if self._process is None else f"the manager at {self.url} (process {self._process})"

    def _silent(self, limit: str) -> ServerSilent:
        if self._process is None:
            return ServerSilent(f"{self.url} did not answer {limit}: try again, or see the log of the manager there")
        go_on, end = f"`kill -CONT {self._process}`", f"`kill -KILL {self._process}`"
        return ServerSilent(
            f"{self._name} did not answer {limit}: is it stopped? {go_on} lets it go on, {end} ends it, and what it "
            "had not finished continues with the next manager; the terminal or service that started it has its log"
        )

    def read(self, answer: bytes, kind: type[T]) -> T:
        """Decode an answer."""
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.MsgspecError as error:
            raise CliError(
                f"{self.url} answered something else than queue-manager does ({error}): is this its address and a "
                "version of the same age?"
            ) from error


class _NothingMore(Exception):
    """The workflow has ended, and nothing came after the last event."""


def checked_url(url: str) -> str:
    """`url` without a trailing slash. Raises UsageProblem for what is no http(s) address."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
        parts = urlsplit("")
    if not good:
        raise UsageProblem(f"server {url[:80]!r} is no address: write http://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageProblem("a server's address holds no user, query or fragment: a token goes into STREAMFORGE_TOKEN")
    return url.rstrip("/")


def problem_of(status: int, answer: bytes) -> ApiProblem:
    """The error that an answer of 400 or more means."""
    try:
        problem = msgspec.json.decode(answer, type=answers.Problem)
    except msgspec.MsgspecError:
        text = " ".join(answer.decode("utf-8", "replace").split())[:_SHOWN]
        return ApiProblem(status, "unknown", f"the server answered {status}: {text or 'nothing'}; is it queue-manager?")
    kind = problem.type.rpartition(":")[2]
    message = problem.detail or problem.title or f"the server answered {status}"
    if status in (401, 403) and kind != "invalid-input":
        message += "; put a token that the server knows into STREAMFORGE_TOKEN, or name its file with --token-file"
    elif kind in ("unavailable", "busy"):
        message = message if "again" in message else f"{message.rstrip('.')}: try again later"
    elif kind not in _SAID_BY_COMMANDS and problem.next_step:
        message += f"; {problem.next_step}"
    return ApiProblem(status, kind, said_here(message), problem.did_you_mean, problem.next_step)


def said_here(message: str) -> str:
    """What the server advises, with the commands and options that one types for it."""
    for there, here in _SAID_HERE.items():
        message = message.replace(there, f"`{here}`")
    return message


def path_part(text: str) -> str:
    """A name as one part of a path. Raises UsageProblem for what cannot be one."""
    if not text or text in (".", "..") or "/" in text or not text.isprintable():
        raise UsageProblem(f"{text[:80]!r} is no name: `streamforge queues` lists the workflows")
    return quote(text, safe="")


def to_json(value: object) -> str:
    """Indented JSON of something that msgspec can encode."""
    return json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False)


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.1, float(text or ""))
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    cause: BaseException = getattr(error, "os_error", None) or error
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(getattr(cause, "strerror", None) or cause)[:_SHOWN]
