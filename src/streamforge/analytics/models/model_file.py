"""A model as a file of safetensors: its numbers, and what it needs of a sample. No pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from streamforge.analytics.models.dataset_definition import DatasetDefinition
from streamforge.analytics.models.training_parameters import TrainingParameters
from streamforge_utils.model.errors import PermanentError

FORMAT = 1
"""Of model files; another one is refused."""
_HEAD = "streamforge"  # one entry: those of a file have no order
_LENGTH = 8
_HEADER_AT_MOST = 1_000_000


class ModelHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a model was made of, and what it reads. seed: that it began with.

    first_ms, last_ms, moments: that it learnt from.
    """

    format: int = FORMAT
    name: str
    run_id: str
    parameters: TrainingParameters
    dataset: DatasetDefinition
    seed: int
    first_ms: int
    last_ms: int
    moments: int


def write_model(head: ModelHead, state: Mapping[str, NDArray[Any]]) -> bytes:
    """The file; equal models have equal ones."""
    arrays = {name: np.ascontiguousarray(state[name]) for name in sorted(state)}
    content: bytes = save(arrays, {_HEAD: msgspec.json.encode(head, order="sorted").decode()})
    return content


def read_model(content: bytes, name: str) -> tuple[ModelHead, dict[str, NDArray[Any]]]:
    """A model from the object `name`. Raises PermanentError for what is none, or has another format."""
    try:
        length = int.from_bytes(content[:_LENGTH], "little")
        if length > min(_HEADER_AT_MOST, len(content)):
            raise ValueError("its header is longer than the file")
        header = msgspec.json.decode(content[_LENGTH : _LENGTH + length], type=_Header)
        text = header.metadata[_HEAD].encode()
        told = msgspec.json.decode(text, type=_Format).format
        if told == FORMAT:
            return msgspec.json.decode(text, type=ModelHead), load(content)
    except (ValueError, KeyError, SafetensorError) as error:
        raise PermanentError(
            f"the object {name} is no model of StreamForge ({type(error).__name__}: {error}): train it again"
        ) from error
    raise PermanentError(
        f"the object {name} is a model of format {told}, and this version knows {FORMAT}: "
        "take the StreamForge that made it, or train it again"
    )


class _Header(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__")


class _Format(msgspec.Struct):
    format: int
