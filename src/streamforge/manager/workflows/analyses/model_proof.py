"""The proof of a workflow that trains a model: all that its manifest names is there, then the model is known."""

from __future__ import annotations

import msgspec

from streamforge.analytics.manifest_files import are_there
from streamforge.analytics.models.model_manifest import read_model_manifest
from streamforge.analytics.models.scoring_order import first_key
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Proof, Workflow
from streamforge.manager.engine.form import next_proof
from streamforge.manager.engine.lifecycle.findings import Proven
from streamforge.manager.models.store import KnownModel
from streamforge.manager.workflows.analyses.model_input import ModelInput, ScoreInput
from streamforge.manager.workflows.analyses.objects import content_of, made_by, objects_of
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.object_store import NoObject


async def prove_model(deps: Dependencies, workflow: Workflow, model: ModelInput) -> Proven:
    """Look whether each file of the manifest is there; then the model is known.

    Raises RetryableError, or PermanentError: nothing was published.
    """
    objects = objects_of(deps)
    made = await made_by(objects, workflow)
    try:
        manifest = read_model_manifest(await content_of(objects, made.manifest), made.manifest)
    except NoObject as error:
        raise PermanentError(f"the manifest {made.manifest} is gone: retry the workflow") from error
    whole = await are_there(objects, manifest.files.values())
    if whole:
        result = manifest.result
        known = KnownModel(
            name=model.name,
            queue_id=workflow.queue_id,
            run_id=manifest.run_id,
            kind=manifest.parameters.model.value,
            manifest=made.manifest,
            type=model.type,
            symbols=len(model.symbols),
            start_ms=manifest.start_ms,
            end_ms=manifest.end_ms,
            moments=result.moments,
            outcome=result.outcome,
            signal=result.signal,
            rank_ic=result.rank_ic,
            sharpe_net=result.sharpe_net,
            made_ms=deps.clock.now_ms(),
        )
        await deps.models.put(known)
    found = msgspec.structs.replace(model, run_id=manifest.run_id, outcome=manifest.result.outcome)
    return Proven(
        proof=_proof(deps, workflow, len(model.order(workflow.span).times), whole=whole), asked=True, more=found
    )


async def prove_scores(deps: Dependencies, workflow: Workflow, scores: ScoreInput) -> Proven:
    """Count the scores of the moments. Raises RetryableError, or PermanentError: nothing was scored."""
    made = await made_by(objects_of(deps), workflow)
    order = scores.order(workflow.span)
    first, last = first_key(order.start_ms), first_key(order.end_ms)
    whole = await deps.store.count(workflow.collection, first=first, last=last) >= made.documents

    def scored(known: KnownModel) -> KnownModel | None:
        goes_on = known.run_id == scores.run_id and order.start_ms <= (known.scored_ms or known.end_ms) < order.end_ms
        return msgspec.structs.replace(known, scored_ms=order.end_ms) if goes_on else None

    if whole:
        await deps.models.change(scores.name, scored)
    return Proven(proof=_proof(deps, workflow, len(order.times), whole=whole), asked=True)


def _proof(deps: Dependencies, workflow: Workflow, expected: int, *, whole: bool) -> Proof:
    return next_proof(workflow, deps.clock.now_ms(), expected=expected, stored=expected if whole else 0)
