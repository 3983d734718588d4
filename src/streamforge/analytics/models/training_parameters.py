"""What can be chosen for gnn-trainer: the model on the graph, and how it learns. Needs no arithmetic."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class ModelKind(StrEnum):
    """gat: a network with attention over the neighbours, which needs torch. neighbour_mean: linear in the features of a
    coin and the means of its neighbours."""

    GAT = "gat"
    NEIGHBOUR_MEAN = "neighbour_mean"


Device = Literal["auto", "cpu", "cuda"]
_Count = Annotated[int, Meta(ge=0, le=100_000)]


class TrainingParameters(msgspec.Struct, frozen=True, kw_only=True):
    """All but model, device, threads and processes are of `gat`; 0 means its own default."""

    model: Annotated[
        ModelKind,
        Meta(description="on the graph: `gat` (a network with attention, needs torch) or `neighbour_mean` (linear)"),
    ] = ModelKind.GAT
    epochs: Annotated[_Count, Meta(description="of `gat`: passes over the training data, at most; 0: its default")] = 0
    learning_rate: Annotated[
        float, Meta(ge=0, le=10, description="of `gat`: how far a step of learning goes; 0: its default")
    ] = 0.0
    heads: Annotated[_Count, Meta(description="of `gat`: heads of attention; 0: its default")] = 0
    width: Annotated[_Count, Meta(description="of `gat`: numbers of a head; 0: its default")] = 0
    layers: Annotated[_Count, Meta(description="of `gat`: layers; 0: its default")] = 0
    patience: Annotated[
        _Count, Meta(description="of `gat`: epochs without progress after which learning ends; 0: its default")
    ] = 0
    device: Annotated[
        Device, Meta(description="of `gat`: `auto` is `cuda` where there is a GPU, else `cpu`; the card names it")
    ] = "auto"
    threads: Annotated[
        int, Meta(ge=1, le=64, description="threads of the arithmetic; more than 1 may change last digits")
    ] = 1
    processes: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="in which models learn at once, to the same bytes; 0: of `gat` on processors one for each "
            "core that can be used, at most 4, else 1",
        ),
    ] = 0

    @property
    def used_processes(self) -> int:
        """How many to take. What is linear learns faster than another process is told the samples; a GPU is one."""
        if self.processes or self.model is not ModelKind.GAT or self.device == "cuda":
            return self.processes or 1
        return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

    def network(self) -> dict[str, object]:
        """What is chosen of `gat`, by the names of its settings."""
        names = ("epochs", "learning_rate", "heads", "width", "layers", "patience")
        chosen = {name: value for name in names if (value := getattr(self, name))}
        return chosen | {"device": self.device, "threads": self.threads}
