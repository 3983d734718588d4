"""A training from bars to the files of a published model."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow

from streamforge.analytics.graphs.graph_manifest import identity
from streamforge.analytics.graphs.graph_tables import parquet
from streamforge.analytics.graphs.panel import Bars, Panel
from streamforge.analytics.graphs.partitions import partition_id, partitions
from streamforge.analytics.models import catalogue, model_manifest
from streamforge.analytics.models.card import Card, TrainingNote, markdown, mean_of
from streamforge.analytics.models.card_html import html
from streamforge.analytics.models.dataset import Sample, make_dataset
from streamforge.analytics.models.evaluation import evaluated
from streamforge.analytics.models.ladder import CODE_VERSION, Checkpoints, LadderRun, Part, PartEpoch, Progress
from streamforge.analytics.models.ladder_processes import LadderProcesses
from streamforge.analytics.models.model import LearnsByEpochs
from streamforge.analytics.models.model_file import ModelHead, write_model
from streamforge.analytics.models.model_manifest import ModelManifest, Result, files_of
from streamforge.analytics.models.training_order import TrainingOrder
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters

PUBLISHED = -1
"""In place of a fold: it learns to be published."""


class Published(NamedTuple):
    """files: contents by the last part of their names. manifest: names them."""

    files: dict[str, bytes]
    manifest: ModelManifest


class Trainer:
    """Trains and compares the models of one order. Raises InvalidInput or ConfigError where that cannot be done."""

    def __init__(self, order: TrainingOrder, parameters: TrainingParameters, bars: dict[str, Bars]) -> None:
        self._order = order
        parameters = catalogue.with_used_device(order.dataset, parameters)
        self._processes = parameters.used_processes
        # Of what is published nothing depends on it.
        self._parameters = parameters = msgspec.structs.replace(parameters, processes=0)
        seen = order.seen
        self._panel = Panel.of(bars, start_ms=seen.start_ms, end_ms=seen.end_ms, bar_ms=order.definition.bar_ms)
        self._contenders = catalogue.ladder(order.dataset, parameters)
        self._dataset = make_dataset(order.dataset, self._panel, order.times)
        self._inputs = dict(sorted(order.runs().items()))
        asked = [order.type, order.start_ms, order.end_ms]
        self._data_version = _hash(asked, self._inputs, self._dataset.sha256)
        graph = order.graph
        span = graph.start_ms, graph.end_ms
        ids = [partition_id(graph.definition, one, self._panel) for one in partitions(graph.definition, *span)]
        self._graph = identity(graph.definition, graph.type, span, graph.runs(), ids)
        ways = [(one.name, one.settings, one.edges, one.seeded) for one in self._contenders]
        self.run_id = _hash(self._data_version, order.dataset, order.evaluation, parameters, ways, CODE_VERSION)

    def publish(
        self,
        checkpoints: Checkpoints | None = None,
        progress: Progress | None = None,
        on_epoch: PartEpoch | None = None,
    ) -> Published:
        """Run the ladder and fit what is published, on the latest moments: as many as a fold learns from."""
        order, parameters = self._order, self._parameters
        given = self._dataset, self._panel, self._contenders, order.evaluation, checkpoints, progress
        with LadderProcesses(self._processes) if self._processes > 1 else nullcontext() as processes:
            card, run = evaluated(*given, processes, on_epoch)
        card = msgspec.structs.replace(card, training=self._note())
        files = {
            model_manifest.MODEL: self._fitted(on_epoch),
            model_manifest.PREDICTIONS: parquet(predictions_table(run)),
            model_manifest.CARDS["json"]: msgspec.json.format(msgspec.json.encode(card, order="deterministic")) + b"\n",
            model_manifest.CARDS["md"]: markdown(card).encode(),
            model_manifest.CARDS["html"]: html(card).encode(),
        }
        manifest = ModelManifest(
            name=order.name,
            run_id=self.run_id,
            data_version=self._data_version,
            graph=self._graph,
            dataset_sha256=card.dataset_sha256,
            dataset=order.dataset,
            evaluation=order.evaluation,
            parameters=parameters,
            type=order.type,
            start_ms=order.start_ms,
            end_ms=order.end_ms,
            inputs=self._inputs,
            result=_result(card),
            files=files_of(order.name, self.run_id, files),
        )
        return Published(files, manifest)

    def _fitted(self, on_epoch: PartEpoch | None) -> bytes:
        order, samples = self._order, self._dataset.samples
        latest: Sequence[Sample] = samples[-(order.evaluation.folds.train or len(samples)) :]
        seed = order.evaluation.seeds[0]
        model = catalogue.publishable(order.dataset, self._parameters, seed)
        if on_epoch is not None and isinstance(model, LearnsByEpochs):
            model.on_epoch = partial(on_epoch, Part(self.run_id, "graph", seed, PUBLISHED))
        model.fit(latest)
        head = ModelHead(
            name=order.name,
            run_id=self.run_id,
            parameters=self._parameters,
            dataset=order.dataset,
            seed=seed,
            first_ms=latest[0].time_ms,
            last_ms=latest[-1].time_ms,
            moments=len(latest),
        )
        return write_model(head, model.state())

    def _note(self) -> TrainingNote:
        parameters = self._parameters
        packages = ["streamforge-market-data", "numpy"]
        is_network = parameters.model is ModelKind.GAT
        if is_network:
            packages += ["torch", "lightgbm"]
        return TrainingNote(
            name=self._order.name,
            model=parameters.model.value,
            settings=next(one.settings for one in self._contenders if one.name == "graph"),
            device=catalogue.used_device(self._order.dataset, parameters),
            threads=parameters.threads,
            graph=self._graph,
            versions={"python": platform.python_version(), **{one: _version(one) for one in packages}},
        )


def predictions_table(run: LadderRun) -> Any:
    """A row for each coin of each tested moment.

    time, symbol, `return`: what a trade earned (null: it could not be entered); and of each model what it predicted,
    the mean over its seeds.
    """
    counts = [len(one.symbols) for one in run.tested]
    times = np.repeat(np.array([one.time_ms for one in run.tested], dtype=np.int64), counts)
    symbols = pyarrow.array([symbol for one in run.tested for symbol in one.symbols], pyarrow.string())
    returns = np.concatenate([one.returns for one in run.tested])
    columns = {
        "time": pyarrow.array(times, pyarrow.int64()).cast(pyarrow.timestamp("ms", tz="UTC")),
        "symbol": symbols.dictionary_encode(),
        "return": pyarrow.array(returns, mask=np.isnan(returns)),
    }
    for model, by_seed in run.predictions.items():
        mean = np.mean([np.concatenate(values) for values in by_seed.values()], axis=0)
        columns[model] = pyarrow.array(mean)
    return pyarrow.table(columns)


def _result(card: Card) -> Result:
    own = [one for one in card.scores if one.model == "graph"]
    return Result(
        outcome=card.verdict.outcome.value,
        signal=card.verdict.signal,
        rank_ic=sum(one.rank_ic for one in own) / len(own),
        t=mean_of([one.t for one in own]),
        sharpe_net=sum(one.sharpe_net for one in own) / len(own),
        moments=card.moments,
        coins=card.coins[1],
        predictions_sha256=card.predictions_sha256,
    )


def _hash(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of a checkout"
