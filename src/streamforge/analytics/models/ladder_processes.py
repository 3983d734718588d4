"""Processes in which models of the ladder learn, several at once. They change no byte of what is predicted."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Self

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.model import Contender, fitted
from streamforge_utils.model.errors import RetryableError

_ABANDONED = 3


class LadderProcesses:
    """So many processes, which end with the block, and with this process if that is killed.

    ahead: how many predictions may be begun before the first of them is asked for.
    """

    def __init__(self, count: int) -> None:
        self.ahead = 2 * count
        # Not forked: a copy of a process whose libraries have threads may wait for ever.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def begin(
        self, contender: Contender, seed: int, train: Sequence[Sample], test: Sequence[Sample]
    ) -> Callable[[], list[Floats]]:
        """Begin what `fitted` does; the answer waits for its predictions.

        Both raise RetryableError where a process has ended before; the answer also raises what the model does.
        """

        gone = (
            f"a process of the ladder ended by itself or was killed while model {contender.name}, seed {seed}, or one "
            "begun beside it learnt; it may have had too little memory: give it more, or set processes to 1"
        )

        def result() -> list[Floats]:
            try:
                return future.result()
            except BrokenExecutor as error:
                raise RetryableError(gone) from error

        try:
            future = self._pool.submit(fitted, contender, seed, train, test)
        except BrokenExecutor as error:
            raise RetryableError(gone) from error
        return result


def _end_with_parent() -> None:
    """Let this process end at once when the one that began it does, also in the midst of arithmetic."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(_ABANDONED)

    threading.Thread(target=follow, daemon=True).start()
