"""The stored records of a series or a collection, as the manager streams them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from streamforge.cli import terminal
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import ApiProblem, CliError
from streamforge.cli.session import Session, Where
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.coverage import Moved, Placed, keeps, stored_spans
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.timeranges import TimeRange

_COUNTING = re.compile(r"POST /coverage/([^/ ]+)/([^/ ]+)/verify")
"""How a manager says that a series is to be counted."""


class Taker(Protocol):
    """Takes records as whole lines, each with its end, in order."""

    def header(self, line: bytes) -> None:
        """The first line of each CSV."""
        raise AssertionError("records are read as JSON lines")

    def lines(self, piece: bytes) -> None:
        """Some records."""


class Reader:
    """Reads from one manager. form: `jsonl` or `csv`. iso: instants in words."""

    def __init__(self, found: Session, where: Where, *, form: str = "jsonl", iso: bool = False) -> None:
        self._found, self._where = found, where
        self._form, self._iso = form, iso

    async def collection(self, name: str, taker: Taker) -> None:
        """The records of a collection as it is. Raises CliError."""
        await self._stream(name, {}, taker)

    async def segment(
        self, known: data_answers.Coverage, segment: data_answers.Segment, taker: Taker, rows: int | None = None
    ) -> None:
        """The records of a stored range of a series.

        rows: how many there must be; without it, as many as the segment says, if it does.
        Raises CliError, also where fewer records come than were proven.
        """
        name = segment.collection or ""
        counted = _Counting(taker)
        query = {
            "time_range": str(TimeRange(segment.start_ms, segment.end_ms)),
            "symbol": known.symbol,
            "type": known.type,
        }
        await self._stream(name, query, counted)
        proven = segment.records or None if rows is None else rows
        if proven is not None and counted.rows != proven:
            raise CliError(
                f"{name} holds {terminal.records(counted.rows)} where coverage has proven {terminal.number(proven)}: "
                f"{self._recovery(f'{known.symbol} {known.type}')}"
            )

    @asynccontextmanager
    async def reading(self, known: data_answers.Coverage, placed: Sequence[Placed]) -> AsyncIterator[None]:
        """A block that reads what is stored of `placed`. Raises Moved at its end, also in place of an error, where that
        lies elsewhere then."""
        failure: StreamForgeError | None = None
        try:
            yield
        except StreamForgeError as error:
            failure = error
        if spans := stored_spans(placed):
            span = TimeRange(spans[0].start_ms, spans[-1].end_ms)
            path = f"/coverage/{path_part(known.symbol)}/{path_part(known.type)}"
            now = await self._found.api.get(path, data_answers.Coverage, {"time_range": str(span)})
            if not keeps(now.segments, placed):
                raise Moved(known.symbol, known.type, span) from failure
        if failure is not None:
            raise failure

    async def _stream(self, collection: str, query: dict[str, str], taker: Taker) -> None:
        asked: dict[str, str | int | list[str]] = {"format": self._form, "limit": "all", **query}
        if self._iso:
            asked["time"] = "iso"
        try:
            async with self._found.api.stream(f"/collections/{path_part(collection)}/records", asked, "*/*") as pieces:
                await _pass_on(pieces, taker, headed=self._form != "csv")
        except ApiProblem as error:
            if counting := _COUNTING.search(error.next_step):
                raise CliError(f"{error}: {self._recovery(' '.join(counting.groups()))}") from error
            raise CliError(f"the records of {collection} cannot be read: {error}") from error

    def _recovery(self, series: str) -> str:
        """What to do where the store holds less than was proven. series: SYMBOL TYPE."""
        return (
            f"count what is there with `streamforge coverage {series} --verify{self._where.flags()}`, which says how "
            "to load the rest"
        )


class _Counting:
    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self.rows = 0

    def header(self, line: bytes) -> None:
        self._taker.header(line)

    def lines(self, piece: bytes) -> None:
        self.rows += piece.count(b"\n")
        self._taker.lines(piece)


async def _pass_on(pieces: AsyncIterator[bytes], taker: Taker, *, headed: bool) -> None:
    rest = b""
    async for piece in pieces:
        whole, newline, rest = (rest + piece).rpartition(b"\n")
        if not newline:
            continue
        whole += newline
        if not headed:
            header, _, whole = whole.partition(b"\n")
            taker.header(header + b"\n")
            headed = True
        if whole:
            taker.lines(whole)
    if rest:
        raise CliError("the server broke off in the middle of a record: try again")
