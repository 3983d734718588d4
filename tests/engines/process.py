"""What an engine needs: its process, the folder in which it is kept once it was fetched, and ports that stay its own.

A process is started under a keeper, so that it ends with us however we end, with its log in a file.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_LIMIT_S = 120.0
_KILL_LIMIT_S = 60.0
_ROOT = Path(__file__).parents[2]
# Below what Linux and macOS hand out by themselves: nobody's outgoing connection takes a port while its server is down.
_RANGE = range(20_000, 30_000)
_GIVEN: set[int] = set()


class EngineError(Exception):
    """A real engine cannot be fetched, started or reached; tests that need it fail with this sentence."""


class EngineProcess:
    """`command`, not yet started. It can be started again after its end; its log goes on.

    name: what it is called in errors. environment: its variables, ours by default.
    """

    def __init__(
        self, name: str, command: Sequence[str], log_path: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log_path = log_path
        self._environment = environment
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._meant = False

    @property
    def pid(self) -> int:
        """Its process id. Raises EngineError if it does not run."""
        if self._pid is None or not self.running:
            raise EngineError(f"{self.name} does not run")
        return self._pid

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(self) -> None:
        """Start it, without waiting until it serves. Raises EngineError if it cannot be started or runs already."""
        if self.running:
            raise EngineError(f"{self.name} runs already")
        self._close()
        keeper = [sys.executable, "-m", "tests.engines.keeper", *self.command]
        with self.log_path.open("ab") as log:
            self._keeper = subprocess.Popen(
                keeper,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=_ROOT,
                env=self._environment,
                start_new_session=True,
            )
        self._meant = True
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        if not line:
            raise EngineError(f"{self.name} could not be started:\n{self.log()}")
        self._pid = int(line)

    def check(self) -> None:
        """Raise EngineError, with the end of its log, if it has ended although nobody asked it to."""
        if self._meant and not self.running:
            code = self._keeper.returncode if self._keeper else None
            raise EngineError(f"{self.name} ended by itself (exit code {code}):\n{self.log()}")

    def stop(self) -> None:
        """End it in order (SIGTERM), by force if that takes too long; without effect on one that does not run."""
        self._signal(signal.SIGTERM)
        try:
            self._ended(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once (SIGKILL); without effect on one that does not run."""
        self._signal(signal.SIGKILL)
        try:
            self._ended(_KILL_LIMIT_S)
        except subprocess.TimeoutExpired:
            assert self._keeper is not None
            self._keeper.kill()
            self._ended(_KILL_LIMIT_S)

    def wait(self, limit_s: float | None = None) -> None:
        """Wait until it ends by itself. Raises TimeoutExpired."""
        self._ended(limit_s)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP), connections open; `thaw` lets it go on."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self, limit: int = 6000) -> str:
        """The last `limit` bytes of what it wrote."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - limit))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def _signal(self, number: signal.Signals) -> None:
        self._meant = False
        if self.running and self._pid is not None:
            try:
                os.kill(self._pid, number)
                # What was frozen hears nothing.
                os.kill(self._pid, signal.SIGCONT)
            except ProcessLookupError:
                return

    def _ended(self, limit_s: float | None) -> None:
        if self._keeper is not None:
            self._keeper.wait(limit_s)
            self._close()

    def _close(self) -> None:
        if self._keeper is not None:
            for pipe in (self._keeper.stdin, self._keeper.stdout):
                if pipe is not None:
                    pipe.close()
        self._pid = None


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended: one whose parent has not looked yet has."""
    if Path("/proc/self/stat").exists():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/streamforge`, by default `~/.cache/streamforge`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streamforge"


@contextmanager
def fetching(folder: Path) -> Iterator[bool]:
    """Whether we are to make `folder`. Of several processes that want it at once one is, and the others wait for it."""
    if folder.is_dir():
        yield False
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not folder.is_dir()


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now and that this process has not been given before."""
    found = list[int]()
    # Other test processes look for ports at the same time: a common seed would have them meet.
    chooser = random.SystemRandom()
    for port in chooser.sample(_RANGE, 2_000):
        if port in _GIVEN or not _is_free(port):
            continue
        _GIVEN.add(port)
        found.append(port)
        if len(found) == count:
            return found
    raise EngineError(f"there are no {count} free ports on loopback between {_RANGE.start} and {_RANGE.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
