"""The routes of models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from streamforge.analytics.models.model_manifest import CARDS
from streamforge.manager.api.queue_routes import ACCEPTED, IdempotencyKey, Limit, started_reply
from streamforge.manager.api.request_bodies import Labels
from streamforge.manager.api.routing import In, StrictRoute, gives, reply
from streamforge.manager.models import answers as model_answers
from streamforge.manager.models.requests import ModelRequest, ScoreRequest
from streamforge.manager.models.store import KnownModel
from streamforge.manager.presentation import moment

router = APIRouter(route_class=StrictRoute, tags=["models"])

_TEXT = 300
_MANY = 32
_COINS = 2_047
Name = Annotated[str, Path(description="The model's name.", examples=["daily"], max_length=_TEXT)]
_CARDS = {"json": "application/json", "md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}
# The page is one file without scripts. Its style is in it; whatever else got into it would not be run or loaded.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox"
)


class TrainModel(BaseModel):
    """Train a model on the graph of assets, compare it with simpler ones, and publish it with its card."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "daily",
                    "symbols": ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"],
                    "type": "api_candles_1d",
                    "time_range": "2023",
                    "parameters": {"model": "neighbour_mean"},
                    "load_missing": True,
                }
            ]
        },
    )

    name: str = Field(max_length=_TEXT, description="Its name: `a-z`, `0-9`, `-`.")
    symbols: list[str] = Field(
        default=[], max_length=_COINS, description="Symbols and patterns (`*USDT`), as of POST /batches."
    )
    batch: str | None = Field(default=None, max_length=_TEXT, description="In their place: the symbols of this batch.")
    type: str = Field(max_length=_TEXT, description="Of the series: `api_candles_1d`, …")
    time_range: str = Field(
        max_length=_TEXT, description="`START[:END]`: its moments lie in it, and their targets end in it."
    )
    definition: dict[str, Any] = Field(
        default={},
        max_length=_MANY,
        description="Of the graph, as of POST /graphs. Defaults follow from the interval (docs/how-to/models.md).",
    )
    horizon: int | None = Field(default=None, ge=1, le=20_000, description="Of the targets, in bars. Default: a day.")
    folds: dict[str, Any] = Field(
        default={},
        max_length=_MANY,
        description="`test`, `least_train`, `train`, `purge`, `embargo` of the walk-forward; all but purge in moments.",
    )
    seeds: list[int] | None = Field(default=None, max_length=100, description="Default: 0 to 4.")
    fee_bp: float | None = Field(default=None, ge=0, description="Basis points of what is traded. Default: 10.")
    top: int | None = Field(default=None, ge=1, description="Of the precision. Default: 10.")
    trials: int | None = Field(default=None, ge=0, description="How many models were tried before, these included.")
    load_missing: bool = Field(
        default=False, description="Load first what is not proven; without it that is waited for, or refused."
    )
    image: str | None = Field(default=None, max_length=_TEXT, description="As in POST /queues/start.")
    parameters: dict[str, Any] = Field(
        default={}, max_length=_MANY, description="Those of gnn-trainer that GET /targets describes."
    )
    labels: Labels = Field(default_factory=dict)

    def request(self) -> ModelRequest:
        """What the service is asked."""
        fields = {**dict(self), "batch": (self.batch or "").lower(), "symbols": tuple(self.symbols)}
        return ModelRequest(**fields | {"seeds": None if self.seeds is None else tuple(self.seeds)})


class ScoreMoments(BaseModel):
    """Let a published model score the coins of some moments; each sees what was closed by then."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"since": "last", "load_missing": True}]})

    time_range: str = Field(default="", max_length=_TEXT, description="Of the moments, `START[:END]`.")
    since: str = Field(
        default="",
        max_length=_TEXT,
        description="In its place, `last`: from where the scores end on, at first from the training's end.",
    )
    load_missing: bool = Field(default=False, description="As of POST /models.")
    image: str | None = Field(default=None, max_length=_TEXT, description="As in POST /queues/start.")
    labels: Labels = Field(default_factory=dict)


@router.post("/models", status_code=202, responses=ACCEPTED, summary="Train and publish a model")
async def start(body: TrainModel, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    return await started_reply(to, await to.service.models.start(body.request(), idempotency_key=idempotency_key))


@router.get("/models", responses=gives(model_answers.Models), summary="List models")
async def find(
    to: In,
    cursor: Annotated[str | None, Query(max_length=500, description="Of the page before.")] = None,
    limit: Limit = 100,
) -> Response:
    found, after = await to.service.models.find(cursor=cursor, limit=limit)
    models = [model_answers.ModelSummary(**_summary(one)) for one in found]
    return reply(model_answers.Models(models=models, cursor=after))


@router.get("/models/{model}", responses=gives(model_answers.Model), summary="Show a model and its files")
async def show(model: Name, to: In) -> Response:
    known, manifest = await to.service.models.get(model)
    files = [
        model_answers.ModelFileAnswer(name=one.name, size=one.size, sha256=one.sha256)
        for one in manifest.files.values()
    ]
    return reply(
        model_answers.Model(
            **_summary(known),
            definition=msgspec.to_builtins(manifest.dataset.graph),
            horizon=manifest.dataset.horizon,
            evaluation=msgspec.to_builtins(manifest.evaluation),
            parameters=msgspec.to_builtins(manifest.parameters),
            data_version=manifest.data_version,
            predictions_sha256=manifest.result.predictions_sha256,
            manifest=known.manifest,
            files=files,
        )
    )


@router.get(
    "/models/{model}/card",
    responses={200: {"description": "The card.", "content": {one.partition(";")[0]: {} for one in _CARDS.values()}}},
    response_class=Response,
    summary="Show the card of a model",
)
async def card(
    model: Name,
    to: In,
    form: Annotated[
        Literal["json", "md", "html"], Query(description="`json` for programs, `md`, or `html` with pictures.")
    ] = "json",
) -> Response:
    headers = {"Content-Security-Policy": _POLICY} if form == "html" else {}
    return Response(await to.service.models.file(model, CARDS[form]), media_type=_CARDS[form], headers=headers)


@router.get(
    "/models/{model}/files/{file}",
    responses={200: {"description": "The file.", "content": {"application/octet-stream": {}}}},
    response_class=Response,
    summary="Download the parameters of a model, or its predictions",
)
async def file(
    model: Name,
    file: Annotated[
        Literal["model.safetensors", "predictions.parquet"], Path(description="The last part of its name.")
    ],
    to: In,
) -> Response:
    return Response(await to.service.models.file(model, file), media_type="application/octet-stream")


@router.post(
    "/models/{model}/scores", status_code=202, responses=ACCEPTED, summary="Let a published model score moments"
)
async def score(model: Name, body: ScoreMoments, to: In, idempotency_key: IdempotencyKey = None) -> Response:
    request = ScoreRequest(name=model, **dict(body))
    return await started_reply(to, await to.service.models.score(request, idempotency_key=idempotency_key))


@router.delete("/models/{model}", responses=gives(model_answers.RemovedModel), summary="Remove a model")
async def remove(model: Name, to: In) -> Response:
    return reply(model_answers.RemovedModel(model=model, objects_removed=await to.service.models.remove(model)))


def _summary(known: KnownModel) -> dict[str, Any]:
    same = ("run_id", "queue_id", "kind", "type", "symbols", "moments", "outcome", "signal", "rank_ic", "sharpe_net")
    return {
        "model": known.name,
        **{name: getattr(known, name) for name in same},
        "start": moment(known.start_ms),
        "end": moment(known.end_ms),
        "made_at": moment(known.made_ms),
    }
