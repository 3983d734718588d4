"""The JSON that the API answers about models."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from streamforge.manager.answers import Moment, example, meaning


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was last published."""

    model: Annotated[str, example("daily")]
    run_id: Annotated[str, meaning("A hash of the samples, the settings and the way of making.")]
    queue_id: Annotated[str, meaning("The workflow that trained it.")]
    kind: Annotated[str, meaning("Of the model on the graph: `gat` or `neighbour_mean`.")]
    type: Annotated[str, meaning("Of its series.", "api_candles_1d")]
    symbols: Annotated[int, meaning("Of how many series it is made.")]
    start: Moment
    end: Annotated[Moment, meaning("Its moments lie from `start` on, and their targets end by `end`.")]
    moments: Annotated[int, meaning("How many were tested.")]
    outcome: Annotated[str, meaning("`edge of the graph`, `no edge`, or `void`: a self-test failed.")]
    signal: Annotated[bool, meaning("Whether a model that learns is better than all naive ones.")]
    rank_ic: Annotated[float, meaning("Of the model on the graph, the mean over moments and seeds.")]
    sharpe_net: Annotated[float, meaning("Of the same: the Sharpe ratio of a year, after fees.")]
    made_at: Moment


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """A page of models. cursor: gives the next page; none at the end."""

    models: list[ModelSummary]
    cursor: str | None = None


class ModelFileAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the store of objects."""

    name: str
    size: int
    sha256: str


class Model(ModelSummary, frozen=True, kw_only=True):
    """A model, how it was made, and where its files lie."""

    definition: Annotated[dict[str, Any], meaning("Of the graph, as POST /models takes it, with all defaults.")]
    horizon: Annotated[int, meaning("Of the targets, in bars.")]
    evaluation: Annotated[dict[str, Any], meaning("Folds, seeds and fees.")]
    parameters: Annotated[dict[str, Any], meaning("Those of gnn-trainer.")]
    data_version: Annotated[str, meaning("A hash of what was known of the inputs, and of all samples.")]
    predictions_sha256: Annotated[str, meaning("Of all predictions.")]
    manifest: Annotated[str, meaning("The name of the object that lists all files with their checksums.")]
    files: list[ModelFileAnswer]


class RemovedModel(msgspec.Struct, frozen=True, kw_only=True):
    """That a model was removed."""

    model: str
    objects_removed: int
