"""Patches of a simulation: no logs, threads or sockets, and limits so small that few bars make many pages."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

import anyio.to_thread
import msgspec
import structlog

from streamforge.manager.execution import record_count, verifier
from streamforge.manager.execution.reconciler import Reconciler
from streamforge.manager.persistence import record_reader
from streamforge_utils.adapters import lane
from streamforge_utils.model.completeness import grid
from streamforge_utils.model.kinds.candles import Klines
from streamforge_utils.runtime import environment, history_loader, offload, sinks, supervisor
from tests.histories.simulated_launcher import SILENT

LOOK_S = 2.0
"""How often the manager looks at workflows that nothing is new about."""

T = TypeVar("T")
P = ParamSpec("P")


@contextmanager
def simulated_environment() -> Iterator[None]:
    """Nothing is logged, nothing is done in a thread, and no worker serves metrics."""
    kept, thresholds = structlog.get_config(), gc.get_threshold()
    structlog.configure(wrapper_class=SILENT)
    gc.set_threshold(100_000, *thresholds[1:])  # little of a simulation is garbage before its end
    try:
        with (
            patch.object(supervisor, "MetricsServer", _NoServer),
            patch.object(environment, "_items", _items),  # a process reads its settings once; here are thousands
            patch.object(offload, "ThreadPoolExecutor", _NoThread),
            patch.object(lane, "ThreadPoolExecutor", _NoThread),
            patch.object(anyio.to_thread, "run_sync", _at_once),
            patch.object(os, "fsync", lambda descriptor: None),  # no power fails here
            patch.object(sinks, "COMMIT_EVERY_S", 1.0),
            patch.object(Reconciler, "LOOK_EVERY_S", LOOK_S),
            # Few bars make many pages.
            patch.object(Klines, "most", 5),
            patch.object(history_loader, "BATCH_PAGES", 2),
            patch.object(record_count, "_KEYS_A_PAGE", 7),
            patch.object(grid, "HOLE_A_REQUEST", 4),
            patch.object(verifier, "_PIECE_RECORDS", 8),
            patch.object(record_reader, "BATCH", 6),
        ):
            yield
    finally:
        structlog.configure(**kept)
        gc.set_threshold(*thresholds)


@cache
def _items(cls: type[msgspec.Struct]) -> tuple[object, ...]:
    return tuple(_read_items(cls))


_read_items = environment._items


async def _at_once(function: Callable[..., T], *args: Any, **_: Any) -> T:
    return function(*args)


class _NoThread(Executor):
    """Does at once what a thread would do."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _NoServer(msgspec.Struct):
    metrics: object
    host: str
    port: int | None

    def close(self) -> None:
        pass
