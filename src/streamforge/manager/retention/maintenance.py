"""Maintenance of many things: what goes wrong with one of them, or takes long, holds up no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.instrumentation import Observer

AT_ONCE = 4
_log = structlog.get_logger(__name__)


@contextmanager
def tried_again_later(observer: Observer, action: str, **subject: str) -> Iterator[None]:
    """An error in the block is counted and logged: a later look does the same again. subject: for the log."""
    try:
        yield
    except Exception as error:
        observer.count("action_failures_total", action=action)
        _log.warning(
            "maintenance failed, it will be tried again",
            action=action,
            error=str(error) or repr(error),
            exc_info=not isinstance(error, StreamForgeError | OSError),
            **subject,
        )


async def each_alone(
    observer: Observer, action: str, subject: str, work: Mapping[str, Callable[[], Awaitable[object]]]
) -> None:
    """Do what `work` has for each name, `AT_ONCE` at a time; as `tried_again_later`. subject: what the names are of."""
    left = iter(work.items())

    async def one_after_the_other() -> None:
        for name, do in left:
            with tried_again_later(observer, action, **{subject: name}):
                await do()

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
