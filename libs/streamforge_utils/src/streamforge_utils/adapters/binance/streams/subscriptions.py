"""Subscribing to streams: in messages of a size that the exchange reads, no faster than it allows, each acknowledged.

Source: Binance Spot, WebSocket streams, live subscribing; the size, which is not documented: binance-connector-rust#27.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from streamforge_utils.adapters.binance.streams.message_pace import MessagePace
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.clock import Clock

MOST_STREAMS = 1024
"""Of one connection."""

LARGEST_REQUEST = 4000
"""Bytes of one message; the exchange does not read, nor answer, one that has more than 4088."""

ANSWER_S = 10.0
"""How long the acknowledgements may take, all of them after the last message was sent."""

FOR_PONGS = 1
"""So many messages of the pace are left to pongs."""

_KNOWN_ERRORS = (0, 1, 2, 3)
"""Unknown property, wrong type, invalid request, invalid JSON: they come again for the same message."""

_Waiting = dict[int | str | None, Sequence[str]]
"""The streams of each request that is not acknowledged, by its number."""


class StreamAnswer(msgspec.Struct, frozen=True):
    """A message that is none of a stream. An answer has an `id`; an error also a `code`, or both below `error`."""

    stream: str | None = None
    e: str | None = None
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: msgspec.Raw = msgspec.Raw()


class Subscribing(Protocol):
    """What a connection has for subscribing."""

    pace: MessagePace

    def expect_answers(self) -> None:
        """Hold answers from now on."""

    def next_request(self) -> int:
        """A number that no other request of the connection has."""

    def send(self, text: bytes) -> None:
        """Send one message."""

    async def answer(self) -> StreamAnswer:
        """The next answer, once it has come."""

    def acknowledged(self) -> None:
        """Hold no more answers."""


class _Request(msgspec.Struct):
    method: str
    params: Sequence[str]
    id: int


class _Error(msgspec.Struct):
    code: int | None = None
    msg: str = ""


def checked_streams(streams: Sequence[str]) -> Sequence[str]:
    """`streams` without those that are named twice. Raises PermanentError if a connection cannot have them."""
    names = list(dict.fromkeys(streams))
    if not 0 < len(names) <= MOST_STREAMS:
        raise PermanentError(
            f"{len(names)} streams were asked for on one connection, which takes 1 to {MOST_STREAMS}: use more of them"
        )
    for name in names:
        if not name or not name.isprintable() or len(name.encode()) > LARGEST_REQUEST // 10:
            raise PermanentError(f"{name[:100]!r} is no name of a stream")
    return names


async def subscribe(connection: Subscribing, streams: Sequence[str], clock: Clock, method: str = "SUBSCRIBE") -> None:
    """Return once all `streams` are acknowledged; one call for a connection at a time. method: or `UNSUBSCRIBE`.

    Raises StreamEnded, RetryableError or PermanentError.
    """
    waiting: _Waiting = {}
    connection.expect_answers()
    try:
        await _ask(connection, streams, waiting, clock, method)
        await _until_acknowledged(connection, streams, waiting, clock)
    finally:
        connection.acknowledged()


async def _ask(connection: Subscribing, streams: Sequence[str], waiting: _Waiting, clock: Clock, method: str) -> None:
    for part in _parts(streams):
        while (rest := connection.pace.rest_s(spare=FOR_PONGS)) > 0:
            await clock.sleep(rest)
        waiting[number := connection.next_request()] = part
        connection.send(msgspec.json.encode(_Request(method, part, number)))


async def _until_acknowledged(connection: Subscribing, streams: Sequence[str], waiting: _Waiting, clock: Clock) -> None:
    reading = asyncio.create_task(_read_answers(connection, waiting))
    limit = asyncio.create_task(clock.sleep(ANSWER_S))
    try:
        await asyncio.wait((reading, limit), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            left = sum(map(len, waiting.values()))
            raise RetryableError(
                f"the exchange did not acknowledge {left} of {len(streams)} streams within {ANSWER_S:g} s, "
                f"{next(iter(waiting.values()))[0]} among them: try again"
            )
        reading.result()
    finally:
        reading.cancel()
        limit.cancel()
        await asyncio.gather(reading, limit, return_exceptions=True)


async def _read_answers(connection: Subscribing, waiting: _Waiting) -> None:
    while waiting:
        answer = await connection.answer()
        error = _error(answer)
        if error is not None:
            _refuse(error, waiting.get(answer.id) or next(iter(waiting.values())))
        waiting.pop(answer.id, None)


def _error(answer: StreamAnswer) -> _Error | None:
    if text := bytes(answer.error):
        try:
            return msgspec.json.decode(text, type=_Error)
        except msgspec.MsgspecError:
            return _Error(None, text.decode(errors="replace"))
    return _Error(answer.code, answer.msg) if answer.code is not None else None


def _refuse(error: _Error, streams: Sequence[str]) -> None:
    message = (
        f"the exchange refused {len(streams)} streams, {streams[0]} among them: code {error.code}: {error.msg[:200]}"
    )
    if error.code in _KNOWN_ERRORS:
        raise PermanentError(f"{message}; check their names")
    raise RetryableError(message)


def _parts(streams: Sequence[str]) -> Iterator[Sequence[str]]:
    """Consecutive parts, each of which fits into a message."""
    part: list[str] = []
    size = left = LARGEST_REQUEST - len(msgspec.json.encode(_Request("UNSUBSCRIBE", (), 10**6)))
    for name in streams:
        length = len(msgspec.json.encode(name)) + 1
        if part and length > left:
            yield part
            part, left = [], size
        part.append(name)
        left -= length
    yield part
