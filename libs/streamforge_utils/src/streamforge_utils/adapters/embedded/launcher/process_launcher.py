"""The embedded launcher: one operating-system process per job, on this machine.

Each job has a folder in `directory`. Its processes hold a lock there that the system releases when the last of them is
gone, so no process number is ever trusted, and a launcher that was restarted finds its jobs again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from streamforge_utils.adapters.embedded.launcher import job_processes
from streamforge_utils.adapters.embedded.launcher.basket_folders import (
    ask_to_stop,
    baskets_of,
    has_members,
    has_others,
    is_of_process,
    is_running,
    make_folders,
    may_have_started,
    process_of,
    sweep_baskets,
)
from streamforge_utils.adapters.embedded.launcher.folder import Folder, Remembered, folders_in, sweep
from streamforge_utils.adapters.embedded.launcher.fork_server import WORTH_IT, ForkServer
from streamforge_utils.adapters.embedded.launcher.job_reports import job_of, log_of
from streamforge_utils.model.errors import ConfigError, ConflictError, RetryableError
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.launcher import Job, JobSpec, JobState

P = ParamSpec("P")
T = TypeVar("T")

PASSED_ON: Final = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""What a job gets of the launcher's own environment; everything else has to be named."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_START_LIMIT_S = 10.0
_KILL_LIMIT_S = 10.0
_SUSPENDED_LIMIT_S = 10.0  # less than a process waits for such a lock before it gives up
_WATCH_PAUSE_S = 1.0
_SHIM_TIME_S = 5.0
_START_PAUSE_S = 0.002
_STOP_PAUSE_S = 0.02
_FORGET_TRIES = 20
MEMBER_GRACE_S: Final = 15.0
"""A member of a basket has so long to end at least, its terminal event included: with it all others would be."""
BASKET_GRACE_S: Final = 15.0
"""Then those that were not asked to end have so long to end in order, with what they hold on their topics."""
_THREADS = 4
_FORKED = -1
"""In the place of a shim's process id: the shim is a child of the fork server."""

_log = logging.getLogger(__name__)


class ProcessLauncher:
    """Runs jobs as processes that outlive it.

    command: the argument list of a job's worker (no secret belongs there: every user can read it).
    base_environment: what every job gets besides its own environment and `PASSED_ON`; its own wins.
    shared_files: what workers lock for moments, and every process of the installation waits for, besides SQLite files.
    fork_server: the command of a worker up to its arguments, and then the option that makes it a fork server, which
    starts the jobs where there are many; empty: each gets an interpreter of its own.
    A job killed by signal N has `signal` N and no exit code (so has one that exits with 128 + N, as a shell has it).
    """

    def __init__(
        self,
        directory: Path,
        *,
        command: Callable[[JobSpec], Sequence[str]],
        base_environment: Mapping[str, str],
        shared_files: Sequence[Path] = (),
        clock: Clock | None = None,
        fork_server: Sequence[str] = (),
        worth_forking: int = WORTH_IT,
    ) -> None:
        self._directory = directory.absolute()
        self._command = command
        self._base_environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._base_environment |= base_environment
        self._forked = tuple(fork_server[:-1])
        self.fork_server = ForkServer(fork_server, self._base_environment, worth_it=worth_forking)
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="launcher")
        self._children: set[int] = set()
        self._ended: dict[str, tuple[tuple[int, int], Job]] = {}
        self._swept = False
        self._asked: set[str] = set()
        self._suspensions = job_processes.Suspensions(shared_files, _SUSPENDED_LIMIT_S)
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """See `Launcher.watch`: one that is suspended (SIGSTOP) for 10 s with a lock for which the others wait.

        The fork server begins: a manager starts mostly to run workflows, and jobs of the first are forked then.
        """
        if self._watching is None:
            if self._forked:
                self.fork_server.begin(0)
            self._watching = asyncio.create_task(self._watch(), name="suspended workers")

    async def start(self, spec: JobSpec) -> None:
        """See `Launcher.start`; returns when the worker's process exists."""
        _check_name(spec)
        await self._run(self._start, spec)

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        """See `Launcher.start_together`: as one process, or several where their environments are too large for one."""
        for spec in specs:
            _check_name(spec)
        await self._run(self._start_together, specs)

    async def jobs(self) -> Sequence[Job]:
        """See `Launcher.jobs`. Raises ConfigError where a newer StreamForge left its jobs."""
        return await self._run(self._jobs)

    def image(self, target: str, image: str | None) -> str:
        """See `Launcher.image`: processes have none."""
        return ""

    def stale_reason(self) -> str:
        """See `Launcher.stale_reason`: every look is at the processes themselves."""
        return ""

    async def stop(self, name: str, *, grace_s: float) -> None:
        """See `Launcher.stop`; at most about 10 s longer than `grace_s`, 40 s where it is a member of a basket."""
        if _NAME.fullmatch(name) is None:
            return
        folder = Folder(self._directory, name)
        process = await self._run(lambda: process_of(folder, folder.remembered()))
        if process is not folder:
            if await self._member_gone(folder, process, max(grace_s, MEMBER_GRACE_S)):
                return
            folder, grace_s = process, BASKET_GRACE_S if await self._run(has_others, process) else 0.0
        first = folder.name not in self._asked  # a second signal would end all at once
        self._asked.add(folder.name)
        try:
            await self._end(name, folder, grace_s, job_processes.ask_to_end if first else _signalled)
        finally:
            self._asked.discard(folder.name)

    async def _end(self, name: str, folder: Folder, grace_s: float, ask: Callable[[Folder], bool]) -> None:
        if await self._gone(folder, grace_s, ask):
            return
        # The shim goes last, so that it can write down how the worker ended.
        if await self._gone(folder, _SHIM_TIME_S, lambda f: _killed(f, shim=False)):
            return
        if not await self._gone(folder, _KILL_LIMIT_S, lambda f: _killed(f, shim=True), again=True):
            raise RetryableError(f"job {name} could not be ended: a process of it survives SIGKILL; try again")

    async def note_end(self, name: str, exit_code: int) -> None:
        """See `Launcher.note_end`: how each job ended is in its folder."""

    async def log(self, name: str) -> str | None:
        """See `Launcher.log`; it is there until the job is forgotten."""
        return await self._run(log_of, Folder(self._directory, name)) if _NAME.fullmatch(name) else None

    async def forget(self, name: str) -> None:
        """See `Launcher.forget`."""
        if _NAME.fullmatch(name) is not None:
            await self._run(self._forget, Folder(self._directory, name))

    async def close(self) -> None:
        """Let go of the jobs: they go on, and another launcher finds them."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self.fork_server.close)
        self._reap()

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
        except OSError as error:
            raise RetryableError(f"cannot look after the jobs in {self._directory}: {error}; try again") from error

    async def _watch(self) -> None:
        trouble = ""
        while True:
            try:
                await self._run(self._end_suspended)
                trouble = ""
            except Exception as error:  # the watch must not end before the launcher is closed
                if str(error) != trouble:
                    _log.warning("suspended workers are not looked for: %s", error, exc_info=error)
                trouble = str(error)
            await self._clock.sleep(_WATCH_PAUSE_S)

    def _end_suspended(self) -> None:
        workers: dict[int, Folder] = {}
        for entry in self._directory.iterdir() if self._directory.is_dir() else ():
            folder = Folder(self._directory, entry.name)
            if entry.name not in self._ended and (pid := folder.worker()) is not None and folder.status() is None:
                workers[pid] = folder
        for pid in self._suspensions.over_limit(list(workers), self._clock.monotonic()):
            workers[pid].note_suspended(_SUSPENDED_LIMIT_S)
            job_processes.kill(workers[pid], shim=False)

    def _start_together(self, specs: Sequence[JobSpec]) -> None:
        fresh = [spec for spec in specs if not may_have_started(Folder(self._directory, spec.name))]
        for process, members in baskets_of(fresh, self._directory) if fresh else ():
            try:
                make_folders(self._directory, process, members, self._clock.now_ms())
            except (PermissionError, FileExistsError, NotADirectoryError) as error:
                raise _unusable(process, Folder(self._directory, process.name), error) from error
            self._start(process)

    def _start(self, spec: JobSpec) -> None:
        folder = Folder(self._directory, spec.name)
        if process_of(folder, folder.remembered()) is not folder and may_have_started(folder):
            return  # in a basket
        argv = list(self._command(spec))
        environment = self._base_environment | dict(spec.environment)
        if not argv or shutil.which(argv[0], path=environment.get("PATH")) is None:
            raise ConfigError(
                f"job {spec.name} cannot be started: its command {argv[:1]} is no program on this machine"
            )
        give_up = time.monotonic() + _START_LIMIT_S
        shells: set[int] = set()
        while not self._started(folder, spec, argv, environment, shells):
            if time.monotonic() > give_up:
                raise RetryableError(f"job {spec.name} did not come to life within {_START_LIMIT_S:.0f} s; ask again")
            time.sleep(_START_PAUSE_S)

    def _started(
        self, folder: Folder, spec: JobSpec, argv: Sequence[str], environment: Mapping[str, str], shells: set[int]
    ) -> bool:
        """Start the job unless it ever was; whether its worker exists, or existed. shells: those begun so far."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            folder.make()
            with folder.locked() as lock:
                if lock is None:  # it runs, or another launcher is about to start it, or someone is just looking
                    return folder.worker() is not None
                if folder.was_started():
                    return True
                if shells:
                    raise RetryableError(
                        f"job {spec.name} was not started: its shell could not write to {folder.path} "
                        f"({folder.last_words(200) or 'it was killed'}); ask again"
                    )
                folder.remember(spec, self._clock.now_ms())
                log = folder.open_log()
                try:
                    pid = self._spawned(folder.path, argv, environment, lock=lock, log=log)
                finally:
                    os.close(log)
        except FileNotFoundError:  # forgotten by another launcher at this moment
            return False
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise _unusable(spec, folder, error) from error
        except OSError as error:
            raise RetryableError(f"job {spec.name} was not started: {folder.path}: {error.strerror}") from error
        shells.add(pid)
        if pid != _FORKED:
            self._children.add(pid)
        return folder.worker() is not None

    def _spawned(
        self, folder: Path, argv: Sequence[str], environment: Mapping[str, str], *, lock: int, log: int
    ) -> int:
        """As `job_processes.spawn`; `_FORKED` where the fork server has started it."""
        number = len(self._forked)
        may_fork = number > 0 and tuple(argv[:number]) == self._forked
        if may_fork and self.fork_server.fork(folder, argv[number:], environment, lock=lock, log=log):
            return _FORKED
        return job_processes.spawn(folder, argv, environment, lock=lock, log=log)

    def _jobs(self) -> list[Job]:
        self._reap()
        if not self._swept:
            self._swept = True
            sweep(self._directory)
            sweep_baskets(self._directory)
        found: dict[str, Job] = {}
        ended: dict[str, tuple[tuple[int, int], Job]] = {}
        for name, status in folders_in(self._directory):
            if _NAME.fullmatch(name) is None or is_of_process(name):
                continue
            identity = (status.st_ino, status.st_mtime_ns)
            known = self._ended.get(name)
            if known is not None and known[0] == identity:
                found[name], ended[name] = known[1], known
                continue
            try:
                job = self._look(Folder(self._directory, name))
            except FileNotFoundError:  # it is forgotten at this moment
                continue
            if job is None:
                continue
            found[name] = job
            if job.state is JobState.ENDED:
                ended[name] = (identity, job)
        self._ended = ended
        return [found[name] for name in sorted(found)]

    def _look(self, folder: Folder) -> Job | None:
        remembered = folder.remembered()
        process = process_of(folder, remembered)
        if not process.was_started():
            return None
        process.bound_log()
        if remembered is not None and process is not folder:
            ended = not is_running(folder, process)
            return job_of(remembered, folder, JobState.ENDED if ended else JobState.RUNNING, process)
        if remembered is None:
            remembered = Remembered(name=folder.name, target="", queue_id="", attempt=0, started_ms=0)
        # Held first, then the status: a job that ends in between has written its status by then.
        running = folder.is_held() or (folder.status() is None and not folder.note_lost())
        return job_of(remembered, folder, JobState.RUNNING if running else JobState.ENDED, folder)

    def _forget(self, folder: Folder) -> None:
        process = process_of(folder, folder.remembered())
        if process is not folder and is_running(folder, process):
            raise ConflictError(f"job {folder.name} runs: stop it first")
        self._remove(folder)
        if process is not folder and not has_members(process):
            self._remove(process)

    def _remove(self, folder: Folder) -> None:
        for _ in range(_FORGET_TRIES):
            try:
                with folder.locked() as lock:
                    if lock is not None:
                        folder.remove()
                        return
            except FileNotFoundError:
                return
            if not folder.is_held():  # another process was just looking
                continue
            time.sleep(_START_PAUSE_S)
        raise ConflictError(f"job {folder.name} runs: stop it first")

    async def _gone(
        self, folder: Folder, limit_s: float, signal_it: Callable[[Folder], bool], *, again: bool = False
    ) -> bool:
        """Signal the job (`again` and again, or once a process is there to be signalled); whether it ended in time."""
        give_up = self._clock.monotonic() + limit_s
        signalled = False
        while await self._run(folder.is_held):
            if again or not signalled:
                signalled = await self._run(signal_it, folder)
            if self._clock.monotonic() >= give_up:
                return not await self._run(folder.is_held)
            await self._clock.sleep(_STOP_PAUSE_S)
        return True

    async def _member_gone(self, folder: Folder, process: Folder, limit_s: float) -> bool:
        """Ask a member of a basket to end; whether it ended in time."""
        give_up = self._clock.monotonic() + limit_s
        await self._run(ask_to_stop, folder)
        while await self._run(is_running, folder, process):
            if self._clock.monotonic() >= give_up:
                return False
            await self._clock.sleep(_STOP_PAUSE_S)
        return True

    def _reap(self) -> None:
        self._children -= {pid for pid in tuple(self._children) if job_processes.reap(pid)}
        _ = self.fork_server.running  # takes its zombie away, too


def _signalled(_: Folder) -> bool:
    return True


def _killed(folder: Folder, *, shim: bool) -> bool:
    job_processes.kill(folder, shim=shim)
    return True


def _check_name(spec: JobSpec) -> None:
    if _NAME.fullmatch(spec.name) is None or is_of_process(spec.name):
        raise ConfigError(f"job name {spec.name[:80]!r} is not legal: up to 200 letters, digits and ._- only")


def _unusable(spec: JobSpec, folder: Folder, error: OSError) -> ConfigError:
    return ConfigError(
        f"job {spec.name} cannot be started: {folder.path}: {error.strerror}; name another data directory"
    )
