"""Who asks for something: the name of a request's token, or what of the manager asks by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

LOOPBACK = "loopback"
"""The actor of a server without tokens: a program of this machine."""
ANONYMOUS = "anonymous"
"""Who carries no token that is known, and may see the probes alone."""
_actor: ContextVar[str] = ContextVar("actor", default="manager")


class RequestNote(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was asked of a workflow. by: an actor's name, never a token. at_ms: unix milliseconds, UTC."""

    request: str
    by: str
    at_ms: int


def actor() -> str:
    """Who asks now."""
    return _actor.get()


@contextmanager
def acting(name: str) -> Iterator[None]:
    """In the block, and in the tasks that it begins, this one asks."""
    before = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(before)
