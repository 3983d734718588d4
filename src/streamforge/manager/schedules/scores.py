"""Schedules of scores: their type is `gnn_score`, and their symbols are the names of published models."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import msgspec

from streamforge.manager.analysis_inputs import nothing_known
from streamforge.manager.continuation import LAST
from streamforge.manager.models.known_store import KnownStore
from streamforge.manager.models.requests import ScoreRequest
from streamforge.manager.models.store import KnownModel
from streamforge.manager.schedules.driver import Start
from streamforge.manager.schedules.model import Definition
from streamforge.manager.use_cases import Started, StartRequest
from streamforge.manager.workflows.analyses.model_input import SCORE_TYPE
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput

_SHOWN = 60


class Score(Protocol):
    """Accepts a request, as `ModelService.score` does."""

    def __call__(self, request: ScoreRequest, *, idempotency_key: str | None = None) -> Awaitable[Started]: ...


def or_score(start: Start, score: Score) -> Start:
    """Starts what a schedule asks for; each model goes on where its scores end, and what lacks is loaded first."""

    def started(request: StartRequest, *, idempotency_key: str | None = None) -> Awaitable[Started]:
        if request.type != SCORE_TYPE:
            return start(request, idempotency_key=idempotency_key)
        asked = ScoreRequest(name=request.symbol, since=LAST, load_missing=True, labels=request.labels)
        return score(asked, idempotency_key=idempotency_key)

    return started


async def checked_scores(asked: Definition, models: KnownStore[KnownModel]) -> Definition:
    """The definition in its one spelling, but for its times. Raises InvalidInput."""
    if asked.time_range or asked.default_start or asked.since not in (None, LAST):
        raise InvalidInput("since", "scores go on where they end, at first where the training ended: name no range")
    if asked.source is not SourceChoice.AUTO:
        raise InvalidInput("source", "scores are made of what is stored, from wherever it came: name no source")
    for name in asked.symbols:
        if await models.get(name) is None:
            missing = await nothing_known(models, "model", name[:_SHOWN])
            raise InvalidInput("symbols", str(missing), meant=missing.meant)
    changed: Definition = msgspec.structs.replace(asked, symbols=tuple(dict.fromkeys(asked.symbols)), since=LAST)
    return changed
