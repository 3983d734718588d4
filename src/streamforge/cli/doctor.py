"""`doctor`: what StreamForge stands on, each part with the reason if it does not work, and what to do."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamforge.cli import output
from streamforge.cli.checking import Check, check_bus, check_kubernetes
from streamforge.cli.checking_store import check_store, nearest
from streamforge.cli.client import Api, to_json
from streamforge.cli.exchange_child import running_exchange
from streamforge.cli.places import EXCHANGE_VARIABLE, exchange_urls, known_origin, last_choice
from streamforge.cli.session import Where, is_held, running_server, server_process
from streamforge.manager import answers
from streamforge.manager.origin import TEST
from streamforge_utils.model.addresses import shown_address
from streamforge_utils.model.errors import StreamForgeError

if TYPE_CHECKING:
    from streamforge_utils.runtime.kubernetes_settings import LauncherSettings

CHECK_S = 20.0
HEALTH_S = 5.0
"""How long a manager that runs may take to say so."""
SKEW_S = 5.0
_VERIFIES = (
    "it counts what is stored as its STREAMFORGE_VERIFY_HOURS says, for the first time ten minutes after its start"
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ok: nothing fails."""

    ok: bool
    checks: list[Check]


async def doctor(where: Where, *, as_json: bool) -> int:
    """Check every part; 1 if one fails."""
    where.check()
    checks = [check async for check in _checks(where)]
    report = Report(ok=all(check.verdict != "fails" for check in checks), checks=checks)
    if as_json:
        output.write(to_json(report))
    else:
        output.table(
            ["part", "", "what was found"],
            [
                [c.part, output.styled(c.verdict), c.detail + (f"; {c.next_step}" if c.next_step else "")]
                for c in checks
            ],
        )
    return 0 if report.ok else 1


async def _checks(where: Where) -> AsyncIterator[Check]:
    if where.server is not None:
        yield await _bounded("server", _server(where.server, where.token()))
        return
    folder = where.folder
    yield _settings(where)
    yield _disk(folder)
    yield _data(folder)
    yield await _bounded("manager", _manager(folder, where.token()))
    with _probe(folder) as probe:
        if probe is None:
            return
        yield await _bounded("bus", check_bus(folder, probe))
        store: list[Check] = []
        yield await _bounded("store", check_store(folder, probe, store))
        for check in store:
            yield check
        launching = _launching(where)
        if launching.in_kubernetes:
            async for check in check_kubernetes(launching, folder):
                yield check
        else:
            yield await _bounded("launcher", _launcher(folder, probe))
    if where.exchange is None and not os.environ.get(EXCHANGE_VARIABLE):
        where = msgspec.structs.replace(where, exchange=_last_choice(folder))
    yield await _bounded("exchange", _exchange(where))


async def _bounded(part: str, work: Awaitable[Check]) -> Check:
    try:
        with output.said_late(f"still checking: {part}"):
            async with asyncio.timeout(CHECK_S):
                return await work
    except TimeoutError:
        return Check(
            part=part,
            verdict="fails",
            detail=f"no answer within {CHECK_S:.0f} s",
            next_step="is the machine overloaded?",
        )
    except (StreamForgeError, OSError) as error:
        return Check(part=part, verdict="fails", detail=str(error))
    except Exception as error:  # a check reports all that is wrong
        return Check(part=part, verdict="fails", detail=f"{type(error).__name__}: {error}")


def _launching(where: Where) -> LauncherSettings:
    """What would run the workers; the environment's, or nothing of it where that is wrong, which `settings` says."""
    from streamforge_utils.runtime.environment import read
    from streamforge_utils.runtime.kubernetes_settings import LAUNCHER, LauncherSettings, with_launcher

    environ = with_launcher(os.environ)
    if where.launcher is not None:
        environ[LAUNCHER] = where.launcher
    return read(LauncherSettings, environ, []) or LauncherSettings()


def _settings(where: Where) -> Check:
    from streamforge.manager.api.tokens import Tokens
    from streamforge.manager.settings import load_manager, misspelt_settings
    from streamforge_utils.runtime.kubernetes_settings import LAUNCHER, with_launcher

    try:
        environ = {**with_launcher(os.environ), "STREAMFORGE_DATA_DIR": str(where.folder)}
        load_manager(environ if where.launcher is None else {**environ, LAUNCHER: where.launcher})
        tokens = Tokens.read(os.environ)
    except StreamForgeError as error:
        return Check(part="settings", verdict="fails", detail=str(error))
    if problems := misspelt_settings(os.environ):
        return Check(part="settings", verdict="careful", detail="; ".join(problems))
    known = "tokens are set" if tokens is not None else "no tokens, so loopback only"
    return Check(part="settings", verdict="works", detail=f"the environment can be read; {known}")


def _disk(folder: Path) -> Check:
    there = nearest(folder)
    if not there.is_dir():
        return Check(
            part="disk", verdict="fails", detail=f"{there} is no folder", next_step="choose another with --data"
        )
    try:
        with tempfile.TemporaryDirectory(prefix=".streamforge-doctor-", dir=there) as probe:
            _write_and_lock(Path(probe))
    except OSError as error:
        return Check(
            part="disk",
            verdict="fails",
            detail=f"{there} cannot be used ({error.strerror or error})",
            next_step="choose another folder with --data",
        )
    return Check(part="disk", verdict="works", detail=f"{there} can be written and locked")


def _write_and_lock(probe: Path) -> None:
    import fcntl

    with (probe / "lock").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _data(folder: Path) -> Check:
    from streamforge import wiring
    from streamforge_utils.runtime.settings import DataSettings

    if folder.exists() and not folder.is_dir():
        return Check(part="data", verdict="fails", detail=f"{folder} is no folder")
    if not folder.exists():
        return Check(part="data", verdict="works", detail=f"{folder} does not exist yet; the first load makes it")
    if not (folder / "format.json").exists():
        others = [path.name for path in folder.iterdir() if not path.name.startswith(".streamforge-doctor-")]
        if not others:
            return Check(part="data", verdict="works", detail=f"{folder} is empty; the first load fills it")
        return Check(
            part="data",
            verdict="careful",
            detail=f"{folder} holds other things ({', '.join(sorted(others)[:5])})",
            next_step="choose a folder of its own with --data",
        )
    try:
        wiring.make_data_directory(DataSettings(data_dir=folder)).open()  # with a format file it only reads
        origin = known_origin(folder)
    except StreamForgeError as error:
        return Check(part="data", verdict="fails", detail=str(error))
    of = {None: "nothing loaded yet", "binance": "data of Binance", "test": "data of the test exchange"}
    told = of.get(origin, f"data of {origin}")
    return Check(part="data", verdict="works", detail=f"{folder}: this version's format, {told}")


async def _manager(folder: Path, token: str | None) -> Check:
    url = running_server(folder)
    if url is not None:
        async with Api(url, token, process=server_process(folder)) as api:
            await api.call("GET", "/healthz", within_s=HEALTH_S, tries=1)
        return Check(part="manager", verdict="works", detail=f"one runs on this data at {url}; {_VERIFIES}")
    if is_held(folder):
        return Check(
            part="manager",
            verdict="careful",
            detail="one holds this data without serving it",
            next_step="it is about to start or to end; if that lasts, end its process",
        )
    return Check(
        part="manager",
        verdict="works",
        detail=(
            "none runs on this data; commands bring their own, and only `streamforge up` counts by itself, now and "
            "then, whether what is stored is still there"
        ),
    )


@contextmanager
def _probe(folder: Path) -> Iterator[Path | None]:
    """A folder on the same file system, removed at the end; None where there can be none."""
    try:
        found = tempfile.TemporaryDirectory(
            prefix=".streamforge-doctor-", dir=nearest(folder), ignore_cleanup_errors=True
        )
    except OSError:
        yield None
        return
    with found as path:
        yield Path(path)


async def _launcher(folder: Path, probe: Path) -> Check:
    from streamforge import wiring
    from streamforge_utils.ports.launcher import JobSpec, JobState
    from streamforge_utils.runtime.settings import DataSettings
    from streamforge_utils.runtime.termination import EXIT_CONFIG

    began = time.perf_counter()
    launcher = wiring.make_launcher(DataSettings(data_dir=probe))
    # A worker without settings says so and ends: that is enough to see it start and to see it end.
    await launcher.start(JobSpec(name="doctor", target="arango-candles", queue_id="doctor", attempt=1))
    # A launcher is asked, it does not tell.
    while (job := (await launcher.jobs())[0]).state is not JobState.ENDED:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    if job.exit_code != EXIT_CONFIG:
        return Check(
            part="launcher",
            verdict="fails",
            detail=f"a worker was started and ended unexpectedly ({job.exit_code}, {job.signal}): {job.reason[:300]}",
            next_step="is this installation complete?",
        )
    return Check(part="launcher", verdict="works", detail=f"a worker was started and seen to end in {took:.1f} s")


async def _exchange(where: Where) -> Check:
    from streamforge import wiring
    from streamforge_utils.runtime.environment import load
    from streamforge_utils.runtime.settings import ExchangeSettings

    async with AsyncExitStack() as stack:
        urls = exchange_urls(where.exchange) if where.exchange != TEST else None
        if where.exchange == TEST:
            urls = ((await stack.enter_async_context(running_exchange())).url,)
        environ = {**os.environ, "STREAMFORGE_REQUEST_ATTEMPTS": "2", "STREAMFORGE_REQUEST_TIMEOUT_SECONDS": "5"}
        environ.pop("STREAMFORGE_EXCHANGE_URL", None)
        if urls is not None:
            environ["STREAMFORGE_EXCHANGE_URL"] = ",".join(urls)
        settings = load(ExchangeSettings, environ)
        named = ", ".join(map(shown_address, settings.urls))
        exchange = wiring.make_exchange(settings)
        stack.push_async_callback(exchange.close)
        began = time.perf_counter()
        try:
            theirs_ms = await exchange.server_time()
        except StreamForgeError as error:
            return Check(
                part="exchange",
                verdict="fails",
                detail=f"{named} does not answer: {str(error).rstrip('.')}",
                next_step="is there a way to the internet from here? without one, use --exchange test",
            )
        took = time.perf_counter() - began
    skew_s = abs(time.time() - theirs_ms / 1000)
    if skew_s > SKEW_S + took:
        return Check(
            part="exchange",
            verdict="careful",
            detail=f"{named} answers, but its clock and this machine's differ by {output.duration(skew_s)}",
            next_step="set this machine's clock",
        )
    return Check(part="exchange", verdict="works", detail=f"{named} answered in {took * 1000:.0f} ms")


async def _server(url: str, token: str | None) -> Check:
    async with Api(url, token) as api:
        try:
            ready = await api.get("/readyz", answers.Readiness)
            await api.call("GET", "/targets")
        except StreamForgeError as error:
            return Check(part="server", verdict="fails", detail=str(error))
    wrong = [f"{part}: {reason}" for part, reason in ready.parts.items() if reason is not None]
    if wrong:
        return Check(part="server", verdict="fails", detail="; ".join(wrong))
    return Check(part="server", verdict="works", detail=f"{url} is ready: {', '.join(ready.parts)} work")


def _last_choice(folder: Path) -> str | None:
    try:
        return last_choice(folder)
    except StreamForgeError:
        return None
