"""The use cases of models: asked for, listed, read with their cards, and removed."""

from __future__ import annotations

import msgspec

from streamforge.analytics.graphs.order import check_graph_name
from streamforge.analytics.models.model_manifest import MODEL, ModelManifest, place_of, read_model_manifest
from streamforge.analytics.models.scoring_order import scores_of
from streamforge.manager.admission import Admission
from streamforge.manager.analysis_inputs import AnalysisInputs, nothing_known
from streamforge.manager.analysis_requests import LEAST_RANKED
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotNow
from streamforge.manager.engine.request_notes import log_request
from streamforge.manager.models.requests import (
    ModelRequest,
    ScoreRequest,
    check_model,
    scored_span,
    workflow_of_model,
    workflow_of_scores,
)
from streamforge.manager.models.store import KnownModel
from streamforge.manager.use_cases import Started, StepRequest
from streamforge.manager.workflows.analyses.model import analysis_of, model_of
from streamforge.manager.workflows.analyses.model_input import TARGET, ModelInput, ScoreInput
from streamforge.manager.workflows.analyses.objects import name_held
from streamforge_utils.model.errors import DamagedFile, InvalidInput, PermanentError
from streamforge_utils.ports.object_store import NoObject


class ModelService:
    """Every call raises RetryableError where store or objects do not answer."""

    def __init__(self, deps: Dependencies, admission: Admission, inputs: AnalysisInputs) -> None:
        self._deps = deps
        self._admission = admission
        self._inputs = inputs

    async def start(self, request: ModelRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request: on return it is stored. With `load_missing` a batch loads what lacks.

        Raises InvalidInput, KeyReused, or NotFound (the batch).
        """
        checked = check_model(request, self._deps.clock.now_ms())
        if (known := await self._admission.made_before(request, idempotency_key)) is not None:
            return known
        self._inputs.require_packages(checked.step)
        symbols = await self._inputs.symbols(request.symbols, request.batch, checked.type, LEAST_RANKED)
        made = checked.made(symbols, request.batch)
        if request.load_missing:
            seen = made.order(checked.span).seen
            loading = await self._inputs.load(symbols, checked.type, seen, checked.labels, idempotency_key)
            made = checked.made(symbols, loading or request.batch)

        def draft(code: str) -> Workflow:
            return workflow_of_model(checked, made, code=code, now_ms=self._deps.clock.now_ms())

        async with name_held(self._deps, "model", made.name):
            for stored in self._deps.workflows.live.values():
                other = model_of(stored.workflow)
                if other is not None and other.name == made.name:
                    raise InvalidInput(
                        "name",
                        f"workflow {stored.workflow.queue_id} trains model {made.name}, and the name means the latest "
                        "training: wait for its end, stop it, or give this one another name",
                    )
            return await self._admission.start_draft(draft, request, idempotency_key)

    async def score(self, request: ScoreRequest, *, idempotency_key: str | None = None) -> Started:
        """Accept the request for scores. Raises InvalidInput, KeyReused, NotFound, DamagedFile."""
        if (before := await self._admission.made_before(request, idempotency_key)) is not None:
            return before
        known, manifest = await self.get(request.name)
        dataset, now_ms = manifest.dataset, self._deps.clock.now_ms()
        span = scored_span(request, dataset, known.scored_ms or known.end_ms, now_ms)
        await self._require_own(known.name)
        parameters = msgspec.to_builtins(manifest.parameters)
        self._inputs.require_packages(StepRequest(target=TARGET, image=request.image, parameters=parameters))
        made = ScoreInput(
            name=known.name,
            run_id=known.run_id,
            model=manifest.files[MODEL].name,
            dataset=dataset,
            type=known.type,
            symbols=tuple(sorted(manifest.inputs)),
        )
        if request.load_missing:
            seen = made.order(span).seen
            loading = await self._inputs.load(made.symbols, made.type, seen, request.labels, idempotency_key)
            made = msgspec.structs.replace(made, batch=loading or "")

        def draft(code: str) -> Workflow:
            return workflow_of_scores(request, made, span, parameters, code=code, now_ms=now_ms)

        async with name_held(self._deps, "model", made.name):
            await self._known(made.name)
            return await self._admission.start_draft(draft, request, idempotency_key)

    async def _require_own(self, name: str) -> None:
        """Raises InvalidInput where the collection of the scores holds a series."""
        if (taken := scores_of(name)) in await self._deps.coverage.by_collection():
            raise InvalidInput("model", f"collection {taken} holds records of a series: give the model another name")

    async def find(self, *, cursor: str | None = None, limit: int = 100) -> tuple[list[KnownModel], str | None]:
        """Models, and the cursor of the next page."""
        found = await self._deps.models.find(after=cursor, limit=limit + 1)
        return [*found[:limit]], found[limit - 1].name if len(found) > limit else None

    async def get(self, name: str) -> tuple[KnownModel, ModelManifest]:
        """The model as it was last found whole. Raises NotFound, DamagedFile."""
        known = await self._known(name)
        try:
            return known, read_model_manifest(await self._content(known.manifest), known.manifest)
        except PermanentError as error:
            raise DamagedFile(f"model {name} cannot be read: {error}") from error

    async def file(self, name: str, file: str) -> bytes:
        """A file of it, by the last part of its name. Raises as `get`."""
        _, manifest = await self.get(name)
        try:
            return await self._content(manifest.files[file].name)
        except (NoObject, KeyError) as error:
            raise DamagedFile(f"{file} of model {name} is gone ({error}): train it again") from error

    async def _content(self, name: str) -> bytes:
        if self._deps.objects is None:
            raise NoObject(f"there is no store of objects, and {name} was in one: set STREAMFORGE_OBJECTS_URL")
        return b"".join([block async for block in self._deps.objects.get(name)])

    async def _known(self, name: str) -> KnownModel:
        known = await self._deps.models.get(check_graph_name(name, "model"))
        if known is None:
            raise await nothing_known(self._deps.models, "model", name)
        return known

    async def remove(self, name: str) -> int:
        """Remove a model with its scores and all that was published or kept under its name, though it was not finished.

        Returns how many objects there were. Raises NotFound, or NotNow (a workflow uses it).
        """
        async with name_held(self._deps, "model", check_graph_name(name, "model")):
            return await self._remove(name)

    async def _remove(self, name: str) -> int:
        known, objects = await self._deps.models.get(name), self._deps.objects
        names = [] if objects is None else [one.name async for one in objects.list(place_of(name))]
        if known is None and not names:
            raise await nothing_known(self._deps.models, "model", name)
        for stored in self._deps.workflows.live.values():
            used = analysis_of(stored.workflow)
            if isinstance(used, ModelInput | ScoreInput) and used.name == name:
                raise NotNow(f"workflow {stored.workflow.queue_id} uses model {name}: stop it first")
        await self._require_own(name)
        if known is not None:
            await self._deps.models.remove(name)  # first: a model that is known is whole
        await self._deps.store.drop(scores_of(name))
        if objects is not None:
            await objects.delete(names)
        log_request("remove", name)
        return len(names)
