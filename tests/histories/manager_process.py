"""The manager of a simulation, and a client of it, without a socket and without a process.

It may be killed at any time, is started again, and gets requests until it answers.
"""

from __future__ import annotations

import asyncio
import csv
import io
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from email.message import Message
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast
from unittest.mock import patch

import httpx
import msgspec
import pyarrow.parquet

from streamforge.cli import session, terminal
from streamforge.cli.client import Api, problem_of
from streamforge.cli.command_errors import CliError
from streamforge.cli.commands.export_command import Exported, export
from streamforge.cli.commands.series_commands import coverage
from streamforge.manager import answers
from streamforge.manager.api.app import create_app
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.listing_answers import WorkflowPage
from streamforge.manager.policy import Policy, RetentionRule
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.reading import Series, read_series
from tests.doubles.observer import RecordingObserver
from tests.doubles.virtualclock import VirtualClock
from tests.doubles.virtualloop import VirtualLoop
from tests.histories.engines import Engines, FaultyExchange
from tests.histories.history import Setting
from tests.histories.simulated_launcher import SimulatedLauncher
from tests.histories.simulated_processes import Killed, Port, Process

T = TypeVar("T")

CONTROL, EVENTS = "queue-control", "queue-events"
HEARTBEAT_S = 10.0
RETAIN_S = 5.0
"""How often the manager looks for what is too old, or is to be verified."""


class ManagerProcess:
    """Keeps a manager running. down_s: how long it is gone after it was killed. folder: where it exports to."""

    def __init__(
        self,
        setting: Setting,
        engines: Engines,
        launcher: SimulatedLauncher,
        exchange: FaultyExchange,
        clock: VirtualClock,
        folder: Path,
    ) -> None:
        self.setting, self.engines, self.launcher = setting, engines, launcher
        self.exchange, self.clock, self._folder = exchange, clock, folder
        self._codes = 0
        self.ready = asyncio.Event()
        self.down_s = 1.0
        self.process = Process()
        self.manager: WorkflowService

    async def keep_up(self) -> None:
        """Start it, again and again."""
        while True:
            self.process = Process()
            try:
                reconciler = await self._started()
            except Killed:
                await asyncio.sleep(self.down_s)
                continue
            running = asyncio.create_task(reconciler.run())
            self.ready.set()
            await self.process.gone.wait()
            self.ready.clear()
            running.cancel()
            await asyncio.wait({running})
            await asyncio.sleep(self.down_s)

    async def _started(self) -> Reconciler:
        while True:
            try:
                return await self._start()
            except RetryableError:
                await asyncio.sleep(1.0)

    async def _start(self) -> Reconciler:
        store, bus = self.engines.store_of(self.process), self.engines.bus_of(self.process)
        deps = Dependencies.on(
            bus,
            store,
            clock=self.clock,
            observer=RecordingObserver(),
            producer=await bus.producer(),
            launcher=cast("Any", Port(self.process, self.launcher)),
            exchange=cast("Any", Port(self.process, self.exchange)),
            policy=self._policy(),
            retained=ObjectFolder(self._folder),
            common={"STREAMFORGE_DATA_DIR": "memory", "STREAMFORGE_EXCHANGE_URL": "http://exchange"},
            control_topic=CONTROL,
            events_topic=EVENTS,
        )
        await deps.workflows.load()
        reconciler = Reconciler(deps)
        if self.setting.verify_s:
            reconciler.RETAIN_EVERY_S = RETAIN_S
        await reconciler.bans.load()
        await reconciler.executor.connects.load()
        self.manager = WorkflowService(deps, reconciler, self._code)
        return reconciler

    def _policy(self) -> Policy:
        setting = self.setting
        keep = (RetentionRule("*", setting.kept_days),) if setting.kept_days else ()
        return Policy(
            max_running=setting.max_running,
            heartbeat_s=HEARTBEAT_S,
            topic_retention_s=10**9,
            dlq_retention_s=10**9,
            retention=keep,
            verify_every_s=setting.verify_s,
            verify_repairs=setting.repairs,
        )

    def _code(self) -> str:
        self._codes += 1
        return f"{self._codes:06d}"

    @property
    def outage(self) -> bool:
        """Whether the bus or the store does not answer."""
        return any(one.lasts(self.clock.monotonic()) for one in self.engines.outages.values())

    async def ask(self, question: Callable[[WorkflowService], Awaitable[T]]) -> T:
        """The manager's answer; one who gets none asks again once it is back."""
        while True:
            await self.ready.wait()
            asked = asyncio.ensure_future(question(self.manager))
            gone = asyncio.ensure_future(self.process.gone.wait())
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not asked.done():
                asked.cancel()
            try:
                return await asked
            except (Killed, asyncio.CancelledError):
                await asyncio.sleep(0)
            except RetryableError:
                await asyncio.sleep(0.5)

    async def verification_is_due(self) -> None:
        """Return once the manager's own verification has had its time, of a manager that lived through it."""
        while self.setting.verify_s:
            await self.ready.wait()
            process = self.process
            # Its latest look may just be over, and one that comes a moment too early lets a series wait for the next.
            await asyncio.sleep(2 * (self.setting.verify_s + RETAIN_S + 2) + 2)
            if process is self.process and process.alive:
                return


URL = "http://127.0.0.1:8080"
FORMATS = ("csv", "jsonl", "parquet")


class Export(NamedTuple):
    """What an export printed and ended with, and the open times of what it wrote, in the order of the file."""

    answer: Exported
    code: int
    times: Sequence[int]


class _Latest:
    """The service of whichever manager is asked: an application takes longer to build than a history to happen."""

    manager: WorkflowService

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)


_latest = _Latest()


@cache
def _client() -> httpx.AsyncClient:
    """A client of the application, without a socket."""
    transport = httpx.ASGITransport(create_app(cast("WorkflowService", _latest)))
    return httpx.AsyncClient(transport=transport, base_url=URL, trust_env=False)


class InProcessClient:
    """Sends requests to a manager. folder: where exports are written."""

    def __init__(self, loop: VirtualLoop, manager: WorkflowService, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        _latest.manager = manager

    def get(self, path: str, kind: type[T], **query: str | int) -> T | None:
        """The answer to a question; None: there is nothing of that name."""
        answer = self._loop.run_until_complete(_client().get(path, params=query))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        assert answer.status_code == HTTPStatus.OK, answer.text
        return msgspec.json.decode(answer.content, type=kind)

    def queues(self, **query: str) -> list[answers.WorkflowSummary]:
        """All workflows, page by page."""
        found: list[answers.WorkflowSummary] = []
        while True:
            page = self.get("/queues", WorkflowPage, limit=2, **query)
            assert page is not None
            found += page.queues
            if page.cursor is None:
                return found
            query["cursor"] = page.cursor

    def coverage(self, *what: str, life: bool = False) -> tuple[data_answers.Coverage | None, int]:
        """What `coverage` prints, and its exit code; None: nothing is known."""
        answer = self._command(coverage(list(what), WHERE, verify=False, life=life, as_json=True))
        if isinstance(answer, CliError):
            assert "nothing is known of" in str(answer), answer
            return None, 1
        return msgspec.json.decode(answer[0], type=data_answers.Coverage), answer[1]

    def verify(self, *what: str) -> tuple[data_answers.Verification, int] | CliError:
        """What `coverage --verify` prints, and its exit code."""
        answer = self._command(coverage(list(what), WHERE, verify=True, life=False, as_json=True))
        if isinstance(answer, CliError):
            return answer
        return msgspec.json.decode(answer[0], type=data_answers.Verification), answer[1]

    def export(self, *what: str, form: str, life: bool = False) -> Export | CliError:
        """What `export` writes and prints."""
        file = self._folder / f"export.{form}"
        file.unlink(missing_ok=True)
        answer = self._command(
            export(list(what), WHERE, form=None, file=str(file), times=None, life=life, as_json=True)
        )
        if isinstance(answer, CliError):
            assert not file.exists(), "an export that fails leaves no file"
            return answer
        return Export(msgspec.json.decode(answer[0], type=Exported), answer[1], _open_times(file, form))

    def series(self, symbol: str, type: str, span: TimeRange | None, *, life: bool = False) -> Series:
        """What `read_series` gives. Raises ReadingError."""
        with patch.object(urllib.request, "urlopen", self._open):
            return read_series(symbol, type, None if span is None else str(span), life=life, url=URL)

    def _command(self, running: Any) -> tuple[str, int] | CliError:
        """What a command prints and its exit code, or its error."""
        printed: list[str] = []
        try:
            with _unconnected(printed.append):
                code = self._loop.run_until_complete(running)
        except CliError as error:
            return error
        return "".join(printed), code

    def _open(self, request: urllib.request.Request, *, timeout: float) -> Any:
        answer = self._loop.run_until_complete(_client().get(request.full_url))
        body = io.BytesIO(answer.content)
        if answer.is_error:
            raise urllib.error.HTTPError(request.full_url, answer.status_code, "", Message(), body)
        return body


WHERE = session.Where(server=URL)


@contextmanager
def _unconnected(write: Callable[[str], object]) -> Iterator[None]:
    """Commands ask the application, and print to `write`."""
    with (
        patch.object(terminal, "say", lambda text: None),
        patch.object(terminal, "write", write),
        patch.object(session, "Api", _InProcessApi),
    ):
        yield


class _InProcessApi(Api):
    """The command line's client, without a socket."""

    async def __aenter__(self) -> Self:
        return self

    @asynccontextmanager
    async def _request(self, method: str, path: str, **kwargs: Any) -> AsyncIterator[Any]:
        query = kwargs.get("query") or None
        answer = await _client().request(method, path, params=query, headers=kwargs.get("headers"))
        if answer.is_error:
            raise problem_of(answer.status_code, answer.content)
        yield _Response(answer)


class _Response:
    """An answer as aiohttp gives it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status, self.headers, self._body = answer.status_code, answer.headers, answer.content
        self.content = self

    async def read(self) -> bytes:
        return self._body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body


def _open_times(file: Path, form: str) -> list[int]:
    if form == "jsonl":
        return [msgspec.json.decode(line)["open_time"] for line in file.read_bytes().splitlines()]
    if form == "parquet":
        column = pyarrow.parquet.read_table(file, columns=["open_time"])["open_time"]
        return list(column.cast("int64").to_pylist())
    with file.open(newline="") as text:
        return [int(row["open_time"]) for row in csv.DictReader(text)]
