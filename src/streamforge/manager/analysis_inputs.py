"""What graphs and models share as requests: the series that they are made of, and what lacks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from streamforge import workers
from streamforge.analytics.graphs.order import unsettled
from streamforge.manager.analysis_requests import LEAST_COINS, check_symbols
from streamforge.manager.batches.model import Member
from streamforge.manager.batches.requests import BatchRequest
from streamforge.manager.batches.service import BatchService
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.models.known_store import KnownStore
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.use_cases import StepRequest
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.model.kinds.registry import series_of
from streamforge_utils.model.spelling import closest
from streamforge_utils.model.timeranges import TimeRange

_NAMES_COMPARED = 1000


class AnalysisInputs:
    """Every call raises RetryableError where the store does not answer."""

    def __init__(self, deps: Dependencies, batches: BatchService) -> None:
        self._deps = deps
        self._batches = batches

    def require_packages(self, step: StepRequest) -> None:
        """Raises InvalidInput where the step's worker would lack a package, which is known of processes alone: they
        have no image."""
        definition = workers.definition(step.target)
        if definition.require is None or self._deps.launcher.image(step.target, step.image):
            return
        try:
            definition.require(msgspec.convert(step.parameters, definition.parameters))
        except ConfigError as error:
            raise InvalidInput("parameters", f"{error}; the manager and its workers share one environment") from error

    async def symbols(
        self, words: Sequence[str], batch: str, type_name: str, least: int = LEAST_COINS
    ) -> tuple[str, ...]:
        """The symbols that names and patterns mean, or those of the batch, sorted.

        Raises InvalidInput for too few, NotFound (the batch).
        """
        if batch:
            members: Sequence[Member] = (await self._batches.get(batch)).members
            found = [one.symbol for one in members]
        else:
            found = [*(await self._batches.chooser.choose(words, type_name, SourceChoice.AUTO)).symbols]
        check_symbols(found, least)
        return tuple(sorted(found))

    async def load(
        self, symbols: Sequence[str], type_name: str, seen: TimeRange, labels: Mapping[str, str], key: str | None
    ) -> str | None:
        """The batch that loads what lacks of the series in this range; None: nothing does.

        key: of the request for the analysis. Repeated under it after a while, less lacks: that is another batch.
        """
        lacking = []
        for symbol in symbols:
            known = await self._deps.coverage.known(series_of(symbol, type_name))
            if unsettled([*known.segments], seen) is not None:
                lacking.append(symbol)
        if not lacking:
            return None
        request = BatchRequest(symbols=tuple(lacking), type=type_name, time_range=str(seen), labels={**labels})
        own = None if key is None else f"{key}-inputs-{sha256(msgspec.json.encode(request)).hexdigest()[:16]}"
        started = await self._batches.start(request, idempotency_key=own)
        return started.view.batch.batch_id


async def nothing_known(store: KnownStore[Any], what: str, name: str) -> NotFound:
    """That there is none of that name, and which one was meant."""
    near = closest(name, [one.name for one in await store.find(limit=_NAMES_COMPARED)])
    meant = f"did you mean {next(iter(near))}?" if near else f"GET /{what}s lists those that there are"
    return NotFound(f"there is no {what} {name}: {meant}", meant=[*near], code=ProblemCode.NOT_FOUND)
