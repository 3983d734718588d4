"""Trains a model on the graph of assets, compares it, publishes it with its card, and lets it score."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from streamforge.analytics.graphs.order import Made, made_name, order_name, read_order
from streamforge.analytics.manifest_files import are_intact
from streamforge.analytics.models import model_manifest
from streamforge.analytics.models.scoring_order import ScoringOrder, first_key, scores_of
from streamforge.analytics.models.training_order import TrainingOrder
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters
from streamforge.analytics.packages import require
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.object_store import DamagedObject, NoObject
from streamforge_utils.ports.store import Document, Outcome, Store
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Use

if TYPE_CHECKING:
    from streamforge.analytics.models.training_messages import Files, FromProcess
    from streamforge.analytics.models.training_process import TrainingProcess

TYPE = "gnn_train"
SCORE_TYPE = "gnn_score"
_MOMENTS_AT_ONCE = 100
_KEYS_AT_ONCE = 100_000
PATIENCE_S = 60.0
STEP_MS = 6 * 3_600_000
"""So long a model may learn without a sign of progress: then it hangs."""
_PACKAGES = {"numpy": "models", "pyarrow": "models", "safetensors": "models"}
_OF_GAT = {"torch": "gnn", "lightgbm": "gnn"}


async def run(ctx: Context[TrainingParameters]) -> None:
    """Do what the workflow is for."""
    require_packages(ctx.parameters)
    await (score(ctx) if ctx.type == SCORE_TYPE else train(ctx))


async def train(ctx: Context[TrainingParameters]) -> None:
    """Train the model that the order of the workflow names."""
    from streamforge.analytics.graphs.stored_bars import read_bars
    from streamforge.analytics.models.training_messages import Begin
    from streamforge.analytics.models.training_process import TrainingProcess

    name = order_name(ctx.queue_id)
    order = read_order(b"".join([block async for block in ctx.objects.get(name)]), name, TrainingOrder)

    def reading(count: int) -> None:
        told = f"training: {count} of {len(order.inputs)} series are read, then samples are made of them"
        ctx.progress.wait("training", told, ctx.clock.now_ms() + STEP_MS)

    bars = await read_bars(ctx.store, order, reading)
    kept = [one.name async for one in ctx.objects.list(model_manifest.checkpoints_of(order.name))]
    begin = Begin(
        order,
        ctx.parameters,
        {
            symbol: (
                own.times.astype("<i8").tobytes(),
                own.closes.astype("<f8").tobytes(),
                own.volumes.astype("<f8").tobytes(),
                b"" if own.opens is None else own.opens.astype("<f8").tobytes(),
            )
            for symbol, own in bars.items()
        },
        kept,
    )
    del bars
    async with TrainingProcess(ctx.parameters.threads) as process:
        await process.send(begin)
        del begin
        await _Training(ctx, order, process, kept).follow()


async def score(ctx: Context[TrainingParameters]) -> None:
    """Let a published model score the moments of the order; doing it twice leaves the same."""
    # Read when the arithmetic is imported: that must not have happened before.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    os.environ |= dict.fromkeys(names, str(ctx.parameters.threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}
    from streamforge.analytics.graphs.stored_bars import read_panel
    from streamforge.analytics.models.scoring import Scorer

    name = order_name(ctx.queue_id)
    order = read_order(b"".join([block async for block in ctx.objects.get(name)]), name, ScoringOrder)
    content = b"".join([block async for block in ctx.objects.get(order.model)])

    def reading(count: int) -> None:
        told = f"scoring: {count} of {len(order.inputs)} series are read"
        ctx.progress.wait("scoring", told, ctx.clock.now_ms() + STEP_MS)

    panel = await read_panel(ctx.store, order, reading)
    reading(len(order.inputs))
    scorer = await asyncio.to_thread(Scorer, order, content, panel)
    ctx.progress.wait("scoring", None)
    collection, count = scores_of(order.name), 0
    for first in range(0, len(order.times), _MOMENTS_AT_ONCE):
        times = order.times[first : first + _MOMENTS_AT_ONCE]
        documents = await asyncio.to_thread(scorer.documents, times, ctx.clock.now_ms())
        await ctx.with_store(partial(_keep, ctx.store, collection, times, documents), patience_s=PATIENCE_S)
        count += len(documents)
        ctx.progress.records += len(times)
        ctx.progress.position = times[-1]
        ctx.progress.share = ctx.progress.records / len(order.times)
    said = Made(run_id=order.run_id, documents=count)
    await ctx.put_object(made_name(ctx.queue_id), msgspec.json.encode(said), patience_s=PATIENCE_S)
    await ctx.note({"model": order.name, "run_id": order.run_id, "scores": count})


async def _keep(store: Store, collection: str, times: range, documents: Sequence[Document]) -> None:
    """Store the scores of these moments; others of them, of coins that a repair has taken away, go."""
    first, last = first_key(times[0]), first_key(times[-1] + 1)
    kept, others = {one.key for one in documents}, set[str]()
    while some := await store.keys(collection, first=first, last=last, limit=_KEYS_AT_ONCE):
        others |= {*some} - kept
        first = some[-1] + "\0"
    await store.delete_keys(collection, sorted(others))
    for answer in await store.upsert(collection, documents):
        if answer.outcome is Outcome.REFUSED:
            raise PermanentError(f"a score cannot be stored in {collection}: {answer.reason}")
        if answer.outcome is Outcome.STALE:
            raise PermanentError(
                f"a score in {collection} is newer than this one: the clock of another machine is ahead, or scores are "
                "made there; see that clocks agree, then retry"
            )


class _Training:
    """Answers a training process, keeps its checkpoints, and publishes what it has made.

    kept: the checkpoints that are under the model's name.
    """

    def __init__(
        self, ctx: Context[TrainingParameters], order: TrainingOrder, process: TrainingProcess, kept: Iterable[str]
    ) -> None:
        self._ctx = ctx
        self._order = order
        self._process = process
        self._run_id = ""
        self._parts = "no part is there yet"
        self._before = kept
        self._checkpoints = set[str]()

    async def follow(self) -> None:
        async for message in self._process.messages():
            if await self._heard(message):
                return

    async def _heard(self, message: FromProcess) -> bool:
        """Whether it was the last message."""
        from streamforge.analytics.models import training_messages as told

        ctx = self._ctx
        match message:
            case told.Run(run_id):
                self._run_id = run_id
                if await ctx.with_objects(self._is_published, patience_s=PATIENCE_S):
                    ctx.log.info("this model is published already", model=self._order.name, run_id=run_id)
                    if ctx.attempt > 1:  # one before was killed once it had published it
                        self._checkpoints.update(self._before)
                    await self._conclude()
                    return True
                await self._process.send(told.Go())
            case told.Wanted(name):
                self._checkpoints.add(name)
                await self._process.send(told.Checkpoint(name, await self._kept(name)))
            case told.Checkpoint(name, content) if content is not None:
                self._checkpoints.add(name)
                await ctx.put_object(name, content, patience_s=PATIENCE_S)
            case told.Part(model, seed, fold, number, total):
                ctx.progress.share = number / total
                ctx.progress.records = len(self._order.times) * number // total
                self._parts = f"{number} of {total} parts are there, the latest: {_part(model, seed, fold)}"
                self._note(self._parts)
            case told.Learning(model, seed, fold, epoch, epochs):
                self._note(f"{self._parts}; epoch {epoch} of at most {epochs} of {_part(model, seed, fold)}")
            case told.Files():
                await self._publish(message)
                return True
            case told.Refused(reason, setting, again):
                raise ConfigError(reason) if setting else RetryableError(reason) if again else PermanentError(reason)
        return False

    @property
    def _manifest(self) -> str:
        return model_manifest.manifest_name(self._order.name, self._run_id)

    async def _is_published(self) -> bool:
        """Whether this run is there, with all that its manifest names as it says."""
        try:
            manifest = model_manifest.read_model_manifest(await self._content(self._manifest), self._manifest)
        except (NoObject, DamagedObject):
            return False
        return await are_intact(self._ctx.objects, manifest.files.values())

    async def _content(self, name: str) -> bytes:
        return b"".join([block async for block in self._ctx.objects.get(name)])

    async def _kept(self, name: str) -> bytes | None:
        async def once() -> bytes | None:
            try:
                return await self._content(name)
            except (NoObject, DamagedObject):
                return None  # it is made again

        return await self._ctx.with_objects(once, patience_s=PATIENCE_S)

    def _note(self, told: str) -> None:
        self._ctx.progress.wait("training", f"training: {told}", self._ctx.clock.now_ms() + STEP_MS)

    async def _publish(self, made: Files) -> None:
        """The files, then the manifest that names them: where it is, all of them are."""
        ctx = self._ctx
        ctx.progress.wait("training", None)
        place = model_manifest.place_of(self._order.name)
        next_step = (
            "a machine with other versions has trained the same: "
            f"`streamforge models rm {self._order.name}`, or train under another name"
        )
        for file, content in made.files.items():
            await ctx.publish_object(f"{place}{self._run_id}/{file}", content, next_step, patience_s=PATIENCE_S)
        await ctx.publish_object(self._manifest, made.manifest, next_step, patience_s=PATIENCE_S)
        await self._conclude()

    async def _conclude(self) -> None:
        """Remove the checkpoints, which nobody needs any more, and say to the manager what is there."""
        ctx, name = self._ctx, made_name(self._ctx.queue_id)
        said = Made(manifest=self._manifest, run_id=self._run_id)
        names = sorted(self._checkpoints)
        await ctx.with_objects(lambda: ctx.objects.delete(names), patience_s=PATIENCE_S)
        await ctx.put_object(name, msgspec.json.encode(said), patience_s=PATIENCE_S)
        ctx.progress.records = len(self._order.times)
        ctx.progress.share = 1.0
        await ctx.note({"model": self._order.name, "run_id": self._run_id})


def _part(model: str, seed: int, fold: int) -> str:
    return f"{model}, seed {seed}, fold {fold + 1}" if fold >= 0 else f"the model that is published, seed {seed}"


def require_packages(parameters: TrainingParameters) -> None:
    """Raises ConfigError that names what is not installed here, and the extra which brings it."""
    name = parameters.model.value
    require(f"model {name}", _PACKAGES)
    if parameters.model is ModelKind.GAT:
        require(f"model {name}", _OF_GAT, ", or take model neighbour_mean")


DEFINITION = Definition(
    target="gnn-trainer",
    summary="trains models on graphs of assets, compares them, and lets them score",
    role=Role.ANALYST,
    types=(TYPE, SCORE_TYPE),
    parameters=TrainingParameters,
    uses=frozenset({Use.STORE, Use.OBJECTS}),
    run=run,
    require=require_packages,
    defaults={"KAFKA_TOPIC": "{QUEUE_ID}-data", "COLLECTION_NAME": "{QUEUE_ID}", "TIME_RANGE": "1970-01-01"},
)
