"""Models as files: read back as they were, and refused where they are something else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.baselines import baselines
from streamforge.analytics.models.catalogue import publishable
from streamforge.analytics.models.model_file import ModelHead, read_model, write_model
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters
from streamforge_utils.model.errors import InvalidInput, PermanentError
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of

PARAMETERS = TrainingParameters(model=ModelKind.NEIGHBOUR_MEAN)
HEAD = ModelHead(
    name="m", run_id="r", parameters=PARAMETERS, dataset=definition(), seed=0, first_ms=1, last_ms=2, moments=2
)


def test_a_model_that_is_read_back_predicts_the_same() -> None:
    samples = dataset_of(panel_of(moves(80, 5, 1))).samples
    model = publishable(definition(), PARAMETERS, 0)
    model.fit(samples[:20])
    content = write_model(HEAD, model.state())
    assert content == write_model(HEAD, model.state())
    head, state = read_model(content, "x")
    assert head == HEAD
    other = publishable(head.dataset, head.parameters, head.seed)
    other.restore(state)
    for one, again in zip(model.predict(samples[20:]), other.predict(samples[20:]), strict=True):
        assert np.array_equal(one, again)


def _of_format(number: int) -> bytes:
    text = msgspec.json.encode(msgspec.to_builtins(HEAD) | {"format": number, "colour": "red"}).decode()
    content: bytes = save({"weights": np.zeros(3)}, {"streamforge": text})
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_of_format(2), "format 2, and this version knows 1"),
        (_of_format(0), "format 0"),
        (save({"weights": np.zeros(3)}), "no model of StreamForge"),
        (save({"weights": np.zeros(3)}, {"streamforge": "{"}), "no model of StreamForge"),
        (b"", "no model of StreamForge"),
        (b"\xff" * 64, "no model of StreamForge"),
        (b"\x80\x04\x95pickle", "no model of StreamForge"),
        (write_model(HEAD, {"weights": np.zeros(3)})[:-5], "no model of StreamForge"),
    ],
)
def test_files_that_are_no_model_of_this_version_are_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(PermanentError, match=f"models/m/x.*{said}"):
        read_model(content, "models/m/x")


@pytest.mark.parametrize("state", [{}, {"weights": np.zeros((2, 2))}, {"weights": np.array([np.nan])}])
def test_numbers_that_do_not_fit_the_model_are_refused(
    state: dict[str, Floats],
) -> None:
    with pytest.raises(InvalidInput, match="weights"):
        publishable(definition(), PARAMETERS, 0).restore(state)


def test_what_the_baselines_need_is_named() -> None:
    with pytest.raises(InvalidInput, match="return_1 and a volatility"):
        baselines(definition(features=["return_5"]).graph)
