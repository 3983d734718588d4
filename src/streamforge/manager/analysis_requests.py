"""What the requests for graphs and for models share, and the workflow of one step, as of topics too. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamforge import workers
from streamforge.manager.engine.document import Step, Workflow
from streamforge.manager.symbol_selection import check_words
from streamforge.manager.use_cases import StepRequest
from streamforge_utils.model import names
from streamforge_utils.model.errors import InvalidInput

LEAST_COINS, LEAST_RANKED = 2, 3
"""Of a graph; of a model, whose ranks of fewer coins tell nothing."""


def check_inputs(symbols: Sequence[str], batch: str) -> None:
    """Raises InvalidInput unless symbols or a batch are named."""
    if bool(symbols) == bool(batch):
        raise InvalidInput("symbols", "name the symbols, or the batch that loads them: one of the two")
    if symbols:
        check_words(symbols)


def check_symbols(symbols: Sequence[str], least: int) -> None:
    """Raises InvalidInput for fewer of them."""
    if len(symbols) < least:
        does = "a graph joins" if least == LEAST_COINS else "a model ranks"
        known = " and ".join(symbols) or "none"
        raise InvalidInput("symbols", f"{does} {least} coins or more, and {known} is all that is named: name others")


def one_step_workflow(
    symbol: str, type_name: str, step: StepRequest, collection: str, *, code: str, **fields: Any
) -> Workflow:
    """A workflow of one step, under the name that `code` gives it. fields: others of it."""
    queue_id = names.queue_id(symbol, type_name, fields["span"].start_ms, code)
    definition = workers.definition(step.target)
    return Workflow(
        queue_id=queue_id,
        symbol=symbol,
        type=type_name,
        topic=names.data_topic(queue_id),
        collection=collection,
        steps=(
            Step(
                target=step.target,
                role=definition.role,
                source=definition.source,
                type=type_name,
                telemetry_id=names.telemetry_id(step.target, queue_id),
                image=step.image,
                parameters=step.parameters,
            ),
        ),
        **fields,
    )
