"""A model that was published and found whole, without the training."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge.analytics.models.model_manifest import ModelManifest, Result, encoded, files_of, manifest_name
from streamforge.analytics.models.training_parameters import TrainingParameters
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.models.requests import ModelRequest, check_model
from streamforge.manager.models.store import KnownModel

CONTENTS = {"card.json": b"{}", "card.md": b"# no edge", "card.html": b"<!doctype html>", "model.safetensors": b"x"}


async def publish(deps: Dependencies, asked: dict[str, Any], now_ms: int) -> tuple[KnownModel, ModelManifest]:
    """The model that the body of a request asks for."""
    assert deps.objects is not None
    checked = check_model(msgspec.convert(asked, ModelRequest), now_ms)
    result = Result(
        outcome="no edge", signal=True, rank_ic=0.1, t=2.0, sharpe_net=0.5, moments=9, coins=2, predictions_sha256="a"
    )
    manifest = ModelManifest(
        name=checked.name,
        run_id="run",
        data_version="d",
        dataset_sha256="s",
        dataset=checked.dataset,
        evaluation=checked.evaluation,
        parameters=msgspec.convert(asked["parameters"], TrainingParameters),
        type=checked.type,
        start_ms=checked.span.start_ms,
        end_ms=checked.span.end_ms,
        inputs={symbol: [] for symbol in asked["symbols"]},
        result=result,
        files=files_of(checked.name, "run", CONTENTS),
    )
    for name, content in CONTENTS.items():
        await deps.objects.put(manifest.files[name].name, content)
    known = KnownModel(
        name=checked.name,
        queue_id="q",
        run_id="run",
        kind=manifest.parameters.model.value,
        manifest=manifest_name(checked.name, "run"),
        type=checked.type,
        symbols=len(asked["symbols"]),
        start_ms=manifest.start_ms,
        end_ms=manifest.end_ms,
        moments=result.moments,
        outcome=result.outcome,
        signal=result.signal,
        rank_ic=result.rank_ic,
        sharpe_net=result.sharpe_net,
        made_ms=now_ms,
    )
    await deps.objects.put(known.manifest, encoded(manifest))
    await deps.models.put(known)
    return known, manifest
