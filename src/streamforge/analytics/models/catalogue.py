"""The models that can be trained and published, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec

from streamforge.analytics.models.baselines import baselines
from streamforge.analytics.models.boosted_trees import boosted_trees
from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.model import Contender, Publishable
from streamforge.analytics.models.neighbour_mean import NeighbourMean, neighbour_means_on_graph, on_graph
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters
from streamforge_utils.model.errors import ConfigError, InvalidInput

_NO_TORCH = (
    "torch is not installed, which model gat needs: install streamforge-market-data[gnn], or take model neighbour_mean"
)


def ladder(dataset: DatasetDefinition, parameters: TrainingParameters) -> list[Contender]:
    """All that is compared. Raises ConfigError (no torch, no LightGBM) and InvalidInput."""
    naive = baselines(dataset.graph)
    if parameters.model is ModelKind.NEIGHBOUR_MEAN:
        return [*naive, *neighbour_means_on_graph()]
    network = _Network(dataset, parameters)
    return [*naive, boosted_trees(), *on_graph(network.make, seeded=True, settings=network.settings.text())]


def publishable(dataset: DatasetDefinition, parameters: TrainingParameters, seed: int) -> Publishable:
    """A new model on the graph. Raises as `ladder`."""
    if parameters.model is ModelKind.NEIGHBOUR_MEAN:
        return NeighbourMean()
    return _Network(dataset, parameters).make(seed)


def used_device(dataset: DatasetDefinition, parameters: TrainingParameters) -> str:
    """What the model on the graph runs on here. Raises as `ladder`."""
    is_linear = parameters.model is ModelKind.NEIGHBOUR_MEAN
    return "cpu" if is_linear else str(_Network(dataset, parameters).settings.used_device())


def with_used_device(dataset: DatasetDefinition, parameters: TrainingParameters) -> TrainingParameters:
    """What `auto` is here in its place. Raises as `ladder`."""
    if parameters.device != "auto":
        return parameters
    is_gpu = used_device(dataset, parameters).startswith("cuda")
    return msgspec.structs.replace(parameters, device="cuda" if is_gpu else "cpu")


class _Network:
    """settings: of `networks.attention`. make: gives a new network for a seed."""

    def __init__(self, dataset: DatasetDefinition, parameters: TrainingParameters) -> None:
        try:
            networks: Any = importlib.import_module("streamforge.analytics.networks.attention")
        except ImportError as error:
            raise ConfigError(_NO_TORCH) from error
        chosen = {**parameters.network(), "purge": networks.purge_of(dataset)}
        try:
            self.settings: Any = msgspec.convert(chosen, networks.AttentionSettings)
        except msgspec.ValidationError as error:
            raise InvalidInput("parameters", f"settings of gat: {error}") from error
        self.make: Callable[[int], Publishable] = networks.attention(self.settings)
