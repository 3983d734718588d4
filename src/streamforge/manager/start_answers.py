"""The JSON that the API answers to a request for a workflow."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import Moment, Started, VerdictName, meaning

UP_TO_DATE = "up-to-date"


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a series that is not stored, and should be."""

    start: Moment
    end: Moment
    start_ms: int
    end_ms: int
    verdict: VerdictName
    cause: Annotated[str, meaning("Why nothing more can be had, where that is known.")] = ""


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """Where `since last` begins."""

    start: Annotated[Moment, meaning("Where the coverage ends, or the first hole that is loaded again.")]
    coverage_end: Annotated[Moment, meaning("Where what was asked for so far ends.")]
    repaired: Annotated[list[Missing], meaning("Holes before the end of the coverage; they are loaded again.")]
    left: Annotated[list[Missing], meaning("Holes before the start, which are not loaded by this request.")]


class Accepted(Started, frozen=True, kw_only=True):
    """The workflow that a request has started or joined."""

    since: Annotated[Since | None, meaning("Of `since`: `last`.")] = None


class UpToDate(msgspec.Struct, frozen=True, kw_only=True):
    """No workflow was made: of what `since last` asks for, no record is over yet."""

    status: Annotated[str, msgspec.Meta(extra_json_schema={"const": UP_TO_DATE})] = UP_TO_DATE
    symbol: str
    type: str
    until: Annotated[Moment, meaning("Where the coverage ends.")]
    until_ms: int
    ended: Annotated[bool, meaning("Whether the exchange has ended the series, so that no more will come.")]
    left: Annotated[list[Missing], meaning("Holes before that, which this request does not load.")]
