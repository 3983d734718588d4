"""The launcher: runs a step's attempt once, under a name that follows from the attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be run.

    environment: the worker's settings, secrets among them: never written to a log or a file. endless: it runs until it
    is stopped, so that no deadline ends it. archive: it fetches files of the exchange's
    archive, and needs room for them. stream: it loads the exchange's streams, and goes on for a while when it is ended
    from outside, so that another attempt can take its place. analyst: it computes, and may take more memory for it.
    """

    name: str
    target: str
    queue_id: str
    attempt: int
    environment: Mapping[str, str] = {}
    image: str | None = None
    endless: bool = False
    archive: bool = False
    stream: bool = False
    analyst: bool = False


class JobState(StrEnum):
    """Whether a job's process (or pod) is still there."""

    RUNNING = "running"
    ENDED = "ended"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as observed.

    exit_code: of an ended job; None if it could not be observed (killed together with the process that watched it).
    signal: the number of the signal that ended it. reason: for a person, why it ended other than with 0, with the
    last lines of its log. next_step: what a person can do about that, or about the waiting. started_ms, ended_ms: unix
    milliseconds. waiting: of a running job, why its worker has not begun yet; waits_for_room: for room on the machines,
    so that nothing is wrong with it. image: what its container runs; empty: it has none, or it is not known.
    basket: what does it together with others; empty: it is alone.
    """

    name: str
    target: str
    queue_id: str
    attempt: int
    state: JobState
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    started_ms: int = 0
    ended_ms: int | None = None
    next_step: str = ""
    waiting: str = ""
    waits_for_room: bool = False
    image: str = ""
    basket: str = ""

    @property
    def is_member(self) -> bool:
        """Whether it goes on in a basket."""
        return self.basket != "" and self.state is JobState.RUNNING


class Launcher(Protocol):
    """Runs jobs. One name is run at most once, however often it is asked for; nothing is ever restarted by itself."""

    def watch(self) -> None:
        """End, until `close`, workers that cannot go on while all others wait for them. The manager alone calls it."""

    async def start(self, spec: JobSpec) -> None:
        """Run the job; a name that was ever started (and not forgotten) is left as it is.

        Raises RetryableError (it may or may not have been started: ask again) or ConfigError (it can never start).
        """

    async def start_together(self, specs: Sequence[JobSpec]) -> None:
        """As `start`, of each: jobs of one target and image, which may become one process.

        They begin, end and are stopped each for itself. Where one does not end in time, the process is ended, and with
        it the others.
        """

    async def jobs(self) -> Sequence[Job]:
        """Every job that was started and not forgotten, sorted by name. Raises RetryableError."""

    def image(self, target: str, image: str | None) -> str:
        """What a job of the target would run now, if it names that image; empty: jobs have none."""

    def stale_reason(self) -> str:
        """Why the answers of `jobs` may be out of date, for a person; empty if it is not. Jobs go on meanwhile."""

    async def stop(self, name: str, *, grace_s: float) -> None:
        """Ask the job to end (SIGTERM), and end it by force after `grace_s`; returns once it is gone.

        One that does not end in a basket in which others go on is ended with these, which have longer to end in order.
        A job that has ended, or is not known, is no error. Raises RetryableError if it could not be ended.
        """

    async def note_end(self, name: str, exit_code: int) -> None:
        """Hear that the job's worker has sent its terminal event, with this exit code; it may come again.

        A launcher that cannot look into the process of a basket takes that for the end of the member; others ignore it.
        Raises RetryableError.
        """

    async def log(self, name: str) -> str | None:
        """The end of what the job's process has written so far, as `log_end` gives it; of a basket's, what all wrote.

        None: it is not to be had: nobody knows the job, or it ended so long ago that its log is gone. Its worker has
        taken secrets out; what other code in its process wrote is as it was. Raises RetryableError.
        """

    async def forget(self, name: str) -> None:
        """Remove what is remembered of an ended job; its name could be run again. Raises ConflictError if it runs."""

    async def close(self) -> None:
        """Let go of the jobs: they go on, and another launcher finds them."""
