"""What the manager's use cases take, return and raise, free of HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from streamforge.manager.engine.document import Workflow
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.coverage import Segment
from streamforge_utils.model.errors import InvalidInput, StreamForgeError
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms


class Incomplete(StreamForgeError):
    """The store holds fewer records than were proven to be there (HTTP 409); the message says where and how many.

    symbol, type: the series of which they are.
    """

    def __init__(self, message: str, symbol: str, type: str) -> None:
        super().__init__(message)
        self.symbol = symbol
        self.type = type


class KeyReused(StreamForgeError):
    """The Idempotency-Key came before with another request (HTTP 422)."""


def lost_cursor(cursor: str, what: str) -> InvalidInput:
    """What is said of a cursor that is none."""
    return InvalidInput(
        "cursor",
        f"cursor {cursor[:80]!r} is not one of this server, or its {what} was removed: begin again without one",
        code=ProblemCode.CURSOR_UNKNOWN,
    )


class StepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One step asked for. parameters: checked against the target's parameter model."""

    target: str
    image: str | None = None
    parameters: dict[str, Any] = {}


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow asked for.

    time_range: empty where `since` says from when on it reaches to now: `last` (where the coverage ends) or an instant.
    default_start: where `since last` begins with a series of which nothing is known; None: that is refused.
    steps: None takes the targets that the type needs. fixed: the plan adds no loader of another source to them.
    collection: None takes the name that follows from the request.
    again: load also what coverage says is stored. source: where the records are wanted from. labels: to find it by.
    """

    symbol: str
    type: str
    time_range: str = ""
    since: str | None = None
    default_start: str | None = None
    steps: tuple[StepRequest, ...] | None = None
    fixed: bool = False
    collection: str | None = None
    again: bool = False
    source: SourceChoice = SourceChoice.AUTO
    labels: dict[str, str] = {}


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """What `since last` means for a series at a moment.

    start_ms: where the range begins: where the coverage ends (end_ms), or at the first hole that is loaded again
    (repaired). left: holes that are not, sorted; they lie before the start, or nothing more can be had of them.
    """

    start_ms: int
    end_ms: int
    repaired: tuple[Segment, ...] = ()
    left: tuple[Segment, ...] = ()


class UpToDate(StreamForgeError):
    """No workflow was made: of what `since last` asks for, no record is over yet. until_ms: where the coverage ends.

    ended: no more records will come. left: as in `Continuation`.
    """

    def __init__(self, series: Series, until_ms: int, *, ended: bool = False, left: Sequence[Segment] = ()) -> None:
        self.series, self.until_ms, self.ended, self.left = series, until_ms, ended, tuple(left)
        super().__init__(f"{series.id} has nothing new since {format_ms(until_ms)}")


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found when the records of a series were counted. counted: records that are there.

    gaps: what is `ours` from now on, or of order books `lost`: where the records were, and how many.
    """

    counted: int
    gaps: tuple[Segment, ...]


class Started(NamedTuple):
    """The outcome of a request.

    new: the workflow was made for it. joined: another request made it, and it was under way. replayed: the same key and
    request came before. behind_ms: how much earlier the range of a joined workflow ends than the one asked for. asked:
    that one, up to the last bar that was over, if it does or, as the workflow has no plan yet, may do so. since: where
    it begins, of `since last`.
    """

    workflow: Workflow
    new: bool = False
    joined: bool = False
    replayed: bool = False
    behind_ms: int = 0
    asked: TimeRange | None = None
    since: Continuation | None = None


class Page(msgspec.Struct, frozen=True):
    """Workflows, newest first. cursor: gives the next page; None at the end.

    counts: by status, how many there are in all, for the same filters but that of the status.
    """

    workflows: Sequence[Workflow]
    cursor: str | None
    counts: Mapping[str, int] = {}


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be stored: where it came from, why, and its original bytes.

    target: the worker that refused it; None: it does not tell. at: its partition and offset on the dead letters' topic.
    """

    topic: str
    partition: int
    offset: int
    attempt: int
    reason: str
    time_ms: int
    key: bytes | None
    value: bytes
    target: str | None = None
    at: tuple[int, int] = (0, 0)


class DeadLetterPage(msgspec.Struct, frozen=True):
    """The oldest dead letters of a workflow. outstanding: how many there are of them. after: gives the next page."""

    letters: Sequence[DeadLetter]
    outstanding: int
    after: str | None = None


Basis = Literal["workflow", "range", "asked", "life"]
"""Whose span a report speaks of: a workflow's; the one of the request; all that was asked for so far, so from the first
to the last record where nothing is missing at the ends; the whole life of the series."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a span of a series.

    segments: sorted; they speak of all bars that open in the span, from the first one on, and a stored one has its
    exact count; none where no bar opens in it. loading: live workflows of the series whose range overlaps the span,
    oldest first. Without a span nothing was asked for yet, or no bar that opens in a workflow's range was over when it
    was planned. complete: of a workflow that stores a topic, which has no series, whether its proof found all of it.
    """

    series: Series
    basis: Basis
    span: TimeRange | None
    segments: Sequence[Segment] = ()
    loading: Sequence[Workflow] = ()
    complete: bool | None = None
