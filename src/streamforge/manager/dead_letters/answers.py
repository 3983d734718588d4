"""The JSON that the API answers about the dead letters of all workflows."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import CURSOR, QUEUE_ID, WorkflowStatus, example, meaning, one_of
from streamforge.manager.dead_letters.model import LetterCode


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters have reasons of a kind."""

    code: Annotated[str, one_of(LetterCode)]
    count: int
    example: Annotated[str, meaning("The reason of the latest of them.")]


class LetterCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters of a workflow."""

    queue_id: Annotated[str, example(QUEUE_ID)]
    symbol: Annotated[str, example("BTCUSDT")]
    type: Annotated[str, example("api_candles_1m")]
    status: WorkflowStatus
    outstanding: Annotated[int, meaning("How many have not been replayed.")]
    counted: Annotated[int, meaning("Of how many of them, the oldest, the reasons were counted: 200 at most.")]
    reasons: Annotated[list[ReasonCount], meaning("The most frequent first.")]


class LetterCountsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Workflows that have dead letters, in the order of their names."""

    workflows: Annotated[
        list[LetterCounts],
        meaning("500 topics are looked at for a page: it may hold fewer, or none, and others follow."),
    ]
    cursor: Annotated[str | None, meaning(CURSOR)] = None
