"""The workflow of one step, as topics and analyses have it. Pure."""

from __future__ import annotations

from typing import Any

from streamforge import workers
from streamforge.manager.engine.document import Step, Workflow
from streamforge.manager.use_cases import StepRequest
from streamforge_utils.model import names


def one_step_workflow(
    symbol: str, type_name: str, step: StepRequest, collection: str, *, code: str, **fields: Any
) -> Workflow:
    """A workflow of one step, under the name that `code` gives it. fields: others of it, its form's part among them."""
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
