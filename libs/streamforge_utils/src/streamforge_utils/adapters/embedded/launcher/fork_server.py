"""A process that has imported what workers need and forks one for each job, in a fraction of a new interpreter's time.

It is begun by a launcher that watches its jobs or starts many, and ends with it, or when nothing was asked for a
minute. A job that it forks is the same as one that the shell starts: a shim in a session of its own, which notes how
the worker ended, and below it the worker; both hold the job's lock, and outlive launcher and server. Linux only:
elsewhere a process that has loaded the system's frameworks must not go on after a fork.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

AVAILABLE: Final = sys.platform == "linux"
IDLE_S: Final = 60.0
"""Without a request for so long it ends."""
WORTH_IT: Final = 3
"""So many jobs started within `IDLE_S` make it worth its start, which takes as long as that of a worker."""
PATIENCE_S: Final = 5.0
"""So long after its start jobs wait for it: interpreters of their own would hold it up, and begin no sooner."""

_MOST_BYTES = 96 * 1024
"""Of a request; a job with a larger environment is not forked."""
_ENDS_S = 2.0
_READY, _DONE = b"ready", b"done"
_TRAPPED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)

Run = Callable[[Sequence[str]], int]
"""Does what a worker's process does with these arguments; returns its exit code."""


class _Request(msgspec.Struct, frozen=True):
    """A job to be forked."""

    folder: str
    arguments: list[str]
    environment: dict[str, str]


class ForkServer:
    """The launcher's side. command: begins the server, which gets the number of its socket as its last argument.

    It may be used by several threads. worth_it, patience_s: as `WORTH_IT`, `PATIENCE_S`.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, worth_it: int = WORTH_IT) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._worth_it = worth_it
        self.patience_s = PATIENCE_S
        self._begun_at = 0.0
        self._lock = threading.Lock()
        self._starts: deque[float] = deque(maxlen=worth_it)
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ready = False
        self._failed = not AVAILABLE

    def fork(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str], *, lock: int, log: int
    ) -> bool:
        """Let the server start the job, as `job_processes.spawn` does; False: it must be started otherwise.

        On return the job has the lock, or nobody has.
        """
        request = msgspec.json.encode(_Request(str(folder), list(arguments), dict(environment)))
        if len(request) > _MOST_BYTES or "\0" in "".join((*environment, *environment.values(), *arguments)):
            return False
        with self._lock:
            if not self._is_ready():
                return False
            channel = self._channel
            assert channel is not None  # noqa: S101
            try:
                socket.send_fds(channel, [request], [lock, log])
            except OSError:
                self._end()
                return False
            # Once it is sent it may be carried out: a second request finds that in the folder.
            with contextlib.suppress(OSError):
                if channel.recv(16) == _DONE:
                    return True
            self._end()
            return True

    @property
    def running(self) -> int | None:
        """The process id of the server; None: none runs."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def begin(self, within_s: float) -> bool:
        """Begin the server now, whether that is worth it or not; whether it takes requests within that time."""
        with self._lock:
            if self._process is None and not self._failed:
                self._begin()
            return self._is_told_ready(within_s)

    def close(self) -> None:
        """End the server; its jobs go on."""
        with self._lock:
            self._end()
            self._failed = True

    def _is_ready(self) -> bool:
        """Whether the server takes requests; begins it where it is worth that."""
        now = time.monotonic()
        self._starts.append(now)
        if self._process is not None and self._process.poll() is not None:
            self._failed = self._failed or not self._ready  # it never worked: it will not
            self._end()
        if self._failed:
            return False
        if self._process is None:
            if len(self._starts) == self._worth_it and now - self._starts[0] <= IDLE_S:
                self._begin()
            return False
        return self._is_told_ready(max(0.0, self._begun_at + self.patience_s - now))

    def _is_told_ready(self, within_s: float) -> bool:
        channel = self._channel
        if not self._ready and channel is not None and select.select([channel], [], [], within_s)[0]:
            with contextlib.suppress(OSError):
                self._ready = channel.recv(16) == _READY
        return self._ready

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*self._command, str(theirs.fileno())],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                self._failed = True
                return
        ours.settimeout(_ENDS_S)
        self._channel, self._begun_at = ours, time.monotonic()

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()  # which ends it
        if self._process is not None:
            try:
                self._process.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process, self._channel, self._ready = None, None, False


def serve(descriptor: int, run: Run) -> int:
    """Fork jobs, as a launcher asks for them on the socket, until it closes that; returns the exit code.

    Everything that `run` needs is imported by now, and no other thread runs.
    """
    if len(os.listdir("/proc/self/task")) != 1:
        print("the fork server has threads: nothing may be forked", file=sys.stderr)
        return 1
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, _reap)
    gc.collect()
    gc.freeze()
    channel.send(_READY)
    while True:
        if not select.select([channel], [], [], IDLE_S)[0]:
            return 0
        message, descriptors, _, _ = socket.recv_fds(channel, _MOST_BYTES + 1, 2)
        if not message:
            return 0
        request = msgspec.json.decode(message, type=_Request)
        lock, log = descriptors
        if os.fork() == 0:
            channel.close()
            _shim(request, lock, log, run)
        os.close(lock)
        os.close(log)
        channel.send(_DONE)


def _reap(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _shim(request: _Request, lock: int, log: int, run: Run) -> NoReturn:
    """What the shell's script does (`job_processes.SCRIPT`)."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for target, number in enumerate((null, log, log)):
            os.dup2(number, target)
        os.close(null)
        os.close(log)
        os.set_inheritable(lock, True)
        folder = Path(request.folder)
        try:
            _write(folder / "started", os.getpid())
        except OSError as error:
            print(f"{folder}: {error.strerror}", file=sys.stderr, flush=True)
            (folder / "started").unlink(missing_ok=True)
            os._exit(1)
        worker = os.fork()
        if worker == 0:
            _work(request, run)
        for one in _TRAPPED:
            signal.signal(one, _pass)
        try:
            _write(folder / "pid", worker)
        except OSError:
            os.kill(worker, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        status = 0
        _write(folder / "exit", 128 - code if code < 0 else code)
    finally:
        os._exit(status)


def _work(request: _Request, run: Run) -> NoReturn:
    code = 1
    try:
        os.environ.clear()
        os.environ.update(request.environment)
        time.tzset()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(" ".join(request.arguments)[:15])
        code = run(request.arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code & 0xFF)


def _write(path: Path, number: int) -> None:
    """In one step: what is read counts with the end of its line."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{number}\n".encode())
    finally:
        os.close(descriptor)


def _pass(*_: object) -> None:
    """The shim goes on, to see the worker end."""
