"""Converts a sink's records outside the event loop: in a thread, and in a helper process while batches queue up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import columns_of
from streamforge_utils.runtime.conversion import Converted, convert
from streamforge_utils.runtime.helper_process import ANSWER_LIMIT_S, HelperProcess
from streamforge_utils.runtime.logs import Log

IDLE_S = 1.0
"""A helper that was not asked for so long is ended: it takes memory."""


class Offloader:
    """Converts batches in the order in which they were given, never in the event loop's thread.

    Converting and storing take about as long, and share the interpreter's lock: after `start_helper` a helper process
    converts. Where it cannot be started, ends or hangs, the thread goes on alone.
    asked: how many batches the helper has converted.
    """

    def __init__(self, kind: RecordKind, log: Log, *, answer_limit_s: float = ANSWER_LIMIT_S) -> None:
        self._kind = kind
        self._answer_limit_s = answer_limit_s
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="convert")
        self._process: HelperProcess | None = None
        self.asked = 0
        self._helper_wanted = False
        self._closed = False
        self._waiting = 0
        self._used_at = 0.0

    @property
    def process(self) -> int | None:
        """The id of the helper process, if there is one."""
        process = self._process
        return None if process is None else process.pid

    def start_helper(self) -> None:
        """Have a helper process convert; to be called once batches queue up, which is worth its start."""
        if not self._helper_wanted:
            self._helper_wanted = True
            self._thread.submit(self._start)  # at once: the next batch may be long in coming

    def convert(self, records: Sequence[Received]) -> asyncio.Future[Converted]:
        """The documents of `records`, later."""
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._convert, records)
        future.add_done_callback(self._converted)
        return future

    def end_idle_helper(self) -> None:
        """End a helper that had no work for `IDLE_S`; to be called now and then."""
        if self._process is not None and not self._waiting and time.monotonic() - self._used_at > IDLE_S:
            self._helper_wanted = False
            self._thread.submit(self._end)

    def close(self) -> None:
        """End the helper, and the thread once it has done its work."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    def _converted(self, _: object) -> None:
        self._waiting -= 1
        self._used_at = time.monotonic()

    # What follows runs in the thread.

    def _convert(self, records: Sequence[Received]) -> Converted:
        try:
            if self._process is not None and self._process.ready():
                converted = self._process.convert(records)
                if converted is not None:
                    self.asked += 1
                    return converted
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._give_up(error)
        return convert(self._kind, *columns_of(records).read())

    def _start(self) -> None:
        try:
            if self._process is None and not self._closed:
                self._process = HelperProcess(self._kind, answer_limit_s=self._answer_limit_s)
                self._log.debug("a helper process converts records", pid=self._process.pid)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._helper_wanted = False
        self._end()
        if not self._closed:
            self._log.warning("the helper process failed; going on without", error=repr(error))

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
