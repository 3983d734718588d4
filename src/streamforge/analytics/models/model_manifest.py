"""The manifest of a published model: what it was made of, what was found, and each of its files with its checksum.

Needs no arithmetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from streamforge.analytics.graphs.graph_manifest import GraphIdentity, SeriesRun
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.evaluation_settings import EvaluationSettings
from streamforge.analytics.models.training_parameters import TrainingParameters
from streamforge_utils.model.errors import PermanentError

FORMAT = 1
"""Of manifests; another one is refused."""
MANIFEST = "manifest.json"
MODEL = "model.safetensors"
PREDICTIONS = "predictions.parquet"
CARDS = {"json": "card.json", "md": "card.md", "html": "card.html"}


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a model. name: of the object. sha256: of its content."""

    name: str
    size: int
    sha256: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the card says in short.

    outcome, signal: its verdict. rank_ic, t, sharpe_net: of the model on the graph, means over seeds. moments, coins:
    that were tested, and the most at one. predictions_sha256: of all predictions.
    """

    outcome: str
    signal: bool
    rank_ic: float
    t: float | None
    sharpe_net: float
    moments: int
    coins: int
    predictions_sha256: str


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was published. run_id: a hash of the dataset, the settings and the way of making. data_version: of
    what was known of the inputs, and of all samples. graph: that it learnt on; None: it was made before that was told.
    files: by the last part of their names."""

    format: int = FORMAT
    name: str
    run_id: str
    data_version: str
    graph: GraphIdentity | None = None
    dataset_sha256: str
    dataset: DatasetDefinition
    evaluation: EvaluationSettings
    parameters: TrainingParameters
    type: str
    start_ms: int
    end_ms: int
    inputs: dict[str, list[SeriesRun]]
    result: Result
    files: dict[str, ModelFile]


def place_of(name: str) -> str:
    """What the names of all objects of a model begin with."""
    return f"models/{name}/"


def manifest_name(name: str, run_id: str) -> str:
    """Of the object that holds the manifest."""
    return f"{place_of(name)}{run_id}/{MANIFEST}"


def checkpoints_of(name: str) -> str:
    """What the names of predictions that were kept of a training begin with."""
    return f"{place_of(name)}checkpoints/"


def files_of(name: str, run_id: str, contents: Mapping[str, bytes]) -> dict[str, ModelFile]:
    """The entries of these files."""
    return {
        one: ModelFile(
            name=f"{place_of(name)}{run_id}/{one}", size=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
        for one, content in sorted(contents.items())
    }


def encoded(manifest: ModelManifest) -> bytes:
    """Its text; equal manifests have equal ones."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n"


def read_model_manifest(text: bytes, name: str) -> ModelManifest:
    """A manifest from the object `name`. Raises PermanentError for what is none, or has another format."""
    try:
        told = msgspec.json.decode(text, type=_Head).format
        if told == FORMAT:
            return msgspec.json.decode(text, type=ModelManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PermanentError(f"the object {name} is no manifest of a model: {error}; train the model again") from error
    raise PermanentError(
        f"the object {name} is a manifest of format {told}, and this version knows {FORMAT}: take the StreamForge that "
        "made it, or train the model again"
    )


class _Head(msgspec.Struct):
    format: int
