"""A network as a file of ONNX gives in another runtime what the model itself predicts."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.graphs.selection import Edges
from streamforge.analytics.models.dataset import Sample
from streamforge.analytics.models.model_file import ModelHead, write_model
from streamforge.analytics.models.onnx_export import onnx_of
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters
from streamforge.analytics.networks.attention import AttentionModel, AttentionSettings
from streamforge.analytics.networks.layers import neighbourhood
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of


def written(model: ModelKind, state: dict[str, Floats]) -> bytes:
    head = ModelHead(
        name="daily",
        run_id="run",
        parameters=TrainingParameters(model=model),
        dataset=definition(),
        seed=0,
        first_ms=0,
        last_ms=0,
        moments=0,
    )
    return write_model(head, state)


def given(sample: Sample) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    of = neighbourhood([sample], torch.device("cpu"))
    unused = torch.zeros_like(of.neighbours, dtype=torch.bool) if of.unused is None else of.unused
    return {"features": of.features.numpy(), "neighbours": of.neighbours.numpy(), "unused": unused.numpy()}


@pytest.mark.parametrize("settings", [AttentionSettings(), AttentionSettings(heads=1, width=3, layers=3)])
def test_another_runtime_predicts_the_same_from_the_file(settings: AttentionSettings) -> None:
    samples = dataset_of(panel_of(moves(120, 10, 1, group=0.7))).samples
    model = AttentionModel(settings, 0)
    model.fit(samples[:40])
    content = onnx_of(written(ModelKind.GAT, model.state()), "x")
    assert content == onnx_of(written(ModelKind.GAT, model.state()), "x")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert (told["run_id"], json.loads(told["features"])) == ("run", [*definition().graph.features])
    lonely = samples[50]._replace(edges=Edges(*np.empty((3, 0), dtype=np.int32)))
    fewer = samples[50]._replace(edges=Edges(*(one[:17] for one in samples[50].edges)))
    assert given(fewer)["unused"].any()
    tested = [*samples[41:60], fewer, lonely]
    for sample, expected in zip(tested, model.predict(tested), strict=True):
        (found,) = session.run(["scores"], given(sample))
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-5)
        assert np.ptp(expected) > 1e-4


def test_what_is_linear_needs_no_such_file() -> None:
    with pytest.raises(InvalidInput, match=r"neighbour_mean, which is linear: the weights in its \.safetensors"):
        onnx_of(written(ModelKind.NEIGHBOUR_MEAN, {"weights": np.zeros(8)}), "x")
