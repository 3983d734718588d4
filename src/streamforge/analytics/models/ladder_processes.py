"""Processes in which models of the ladder learn, several at once. They change no byte of what is predicted."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Self

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.model import Contender, Epoch, OnEpoch, fitted
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
        # One pipe for all: what is told of an epoch is short enough to be written whole, so that no lock is left behind
        # by a process that is killed.
        self._told, self._tell = context.Pipe(duplex=False)
        self._heard = list[OnEpoch | None]()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(self._tell,))

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._tell.close()
        if kind is None:
            self._listener.join()
            self._told.close()

    def _listen(self) -> None:
        """Until no process is left that could tell."""
        with suppress(EOFError, OSError):
            while True:
                number, epoch = self._told.recv()
                if (on_epoch := self._heard[number]) is not None:
                    on_epoch(Epoch(*epoch))

    def begin(
        self,
        contender: Contender,
        seed: int,
        train: Sequence[Sample],
        test: Sequence[Sample],
        on_epoch: OnEpoch | None = None,
    ) -> Callable[[], list[Floats]]:
        """Begin what `fitted` does; the answer waits for its predictions. on_epoch: called from a thread.

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

        self._heard.append(on_epoch)
        try:
            future = self._pool.submit(_fitted, len(self._heard) - 1, contender, seed, train, test)
        except BrokenExecutor as error:
            raise RetryableError(gone) from error
        return result


_tells = list[Connection]()
"""Of a process of the pool: where it tells of epochs."""


def _begin(tell: Connection) -> None:
    _tells.append(tell)
    _end_with_parent()


def _fitted(
    number: int, contender: Contender, seed: int, train: Sequence[Sample], test: Sequence[Sample]
) -> list[Floats]:
    return fitted(contender, seed, train, test, lambda epoch: _tells[0].send((number, tuple(epoch))))


def _end_with_parent() -> None:
    """Let this process end at once when the one that began it does, also in the midst of arithmetic."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(_ABANDONED)

    threading.Thread(target=follow, daemon=True).start()
