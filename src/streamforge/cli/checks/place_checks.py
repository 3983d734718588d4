"""Checks of the settings, the disk, the data directory, the manager and the exchange."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from streamforge import wiring
from streamforge.cli.client import Api
from streamforge.cli.exchange_process import running_exchange
from streamforge.cli.places import DATA_VARIABLE, EXCHANGE_VARIABLE, exchange_urls, known_origin, last_choice
from streamforge.cli.session import Where, data_folder
from streamforge.manager import answers
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.health.findings import careful, exchange_that_answered, exchange_that_is_silent, fails, works
from streamforge.manager.manager_settings import load_manager, misspelt_settings
from streamforge.manager.origin import TEST
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.secret import shown_address
from streamforge_utils.ports.job_settings import with_launcher
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.settings import ExchangeSettings

HEALTH_S = 5.0
"""How long a manager that runs may take to say so."""
_VERIFIES = (
    "it counts what is stored as its STREAMFORGE_VERIFY_HOURS says, for the first time ten minutes after its start"
)
_OTHERS_SHOWN = 5


async def check_settings(subject: Subject) -> AsyncIterator[Finding]:
    """Whether the environment can be read."""
    load_manager({**with_launcher(subject.where.environ()), DATA_VARIABLE: str(subject.folder)})
    tokens = "no tokens, so loopback only" if Tokens.read(os.environ) is None else "tokens are set"
    if problems := misspelt_settings(os.environ):
        yield careful("settings", "; ".join(problems))
    else:
        yield works("settings", f"the environment can be read; {tokens}")


async def check_disk(subject: Subject) -> AsyncIterator[Finding]:
    """Whether files can be written and locked where the data lie or will lie."""
    there = nearest(subject.folder)
    if not there.is_dir():
        yield fails("disk", f"{there} is no folder", "choose another with --data")
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".streamforge-doctor-", dir=there) as probe:
            _write_and_lock(Path(probe))
    except OSError as error:
        yield fails("disk", f"{there} cannot be used ({error.strerror or error})", "choose another folder with --data")
        return
    yield works("disk", f"{there} can be written and locked")


def _write_and_lock(probe: Path) -> None:
    import fcntl

    with (probe / "lock").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def check_data(subject: Subject) -> AsyncIterator[Finding]:
    """Whether the data directory is one, of this version's format, and whose data it holds."""
    folder = subject.folder
    if not folder.exists():
        yield works("data", f"{folder} does not exist yet; the first load makes it")
    elif not folder.is_dir():
        yield fails("data", f"{folder} is no folder")
    elif (folder / "format.json").exists():
        data_folder(folder).open()  # with a format file it only reads
        origin = known_origin(folder)
        of = {None: "nothing loaded yet", "binance": "data of Binance", "test": "data of the test exchange"}
        yield works("data", f"{folder}: this version's format, {of.get(origin, f'data of {origin}')}")
    elif others := sorted(path.name for path in folder.iterdir() if not path.name.startswith(".streamforge-doctor-")):
        told = f"{folder} holds other things ({', '.join(others[:_OTHERS_SHOWN])})"
        yield careful("data", told, "choose a folder of its own with --data")
    else:
        yield works("data", f"{folder} is empty; the first load fills it")


async def check_manager(subject: Subject) -> AsyncIterator[Finding]:
    """Whether a manager runs on the data directory, and whether it answers."""
    folder = data_folder(subject.folder)
    if url := folder.server():
        async with Api(url, subject.where.token(), process=folder.process()) as api:
            await api.call("GET", "/healthz", within_s=HEALTH_S, tries=1)
        yield works("manager", f"one runs on this data at {url}; {_VERIFIES}")
    elif folder.held():
        told = "it is about to start or to end; if that lasts, end its process"
        yield careful("manager", "one holds this data without serving it", told)
    else:
        yield works(
            "manager",
            "none runs on this data; commands bring their own, and only `streamforge up` counts by itself, now and "
            "then, whether what is stored is still there",
        )


async def check_server(subject: Subject) -> AsyncIterator[Finding]:
    """Whether the manager at --server is ready."""
    url = subject.where.server or ""
    async with Api(url, subject.where.token()) as api:
        ready = await api.get("/readyz", answers.Readiness)
        await api.call("GET", "/targets")
    if wrong := [f"{part}: {reason}" for part, reason in ready.parts.items() if reason is not None]:
        yield fails("server", "; ".join(wrong))
    else:
        yield works("server", f"{url} is ready: {', '.join(ready.parts)} work")


class Subject(msgspec.Struct, frozen=True):
    """What is checked. folder: of the data. probe: a folder on the same disk to try things in; it is removed."""

    where: Where
    folder: Path
    probe: Path


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


async def check_exchange(subject: Subject) -> AsyncIterator[Finding]:
    """Whether the exchange that a load would use answers."""
    async with AsyncExitStack() as stack:
        settings = await chosen_exchange(subject, stack)
        named = ", ".join(map(shown_address, settings.urls))
        exchange = wiring.make_exchange(settings)
        stack.push_async_callback(exchange.close)
        began = time.perf_counter()
        try:
            theirs_ms = await exchange.server_time()
        except StreamForgeError as error:
            told = "is there a way to the internet from here? without one, use --exchange test"
            yield exchange_that_is_silent(named, str(error), told)
            return
        took_s = time.perf_counter() - began
    yield exchange_that_answered(named, took_s=took_s, ahead_s=theirs_ms / 1000 - time.time())


async def chosen_exchange(subject: Subject, stack: AsyncExitStack) -> ExchangeSettings:
    """The exchange that a load would use, which is asked little; a test exchange runs until the stack is closed."""
    choice = _choice(subject)
    urls = exchange_urls(choice) if choice != TEST else None
    if choice == TEST:
        urls = ((await stack.enter_async_context(running_exchange())).url,)
    environ = {**os.environ, "STREAMFORGE_REQUEST_ATTEMPTS": "2", "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "5"}
    environ.pop(EXCHANGE_VARIABLE, None)
    if urls is not None:
        environ[EXCHANGE_VARIABLE] = ",".join(urls)
    return load(ExchangeSettings, environ)


def _choice(subject: Subject) -> str | None:
    """What `--exchange` says, else the exchange of the data where the environment names none."""
    if subject.where.exchange is not None or os.environ.get(EXCHANGE_VARIABLE):
        return subject.where.exchange
    try:
        return last_choice(subject.folder)
    except StreamForgeError:
        return None
