"""The requests that start a workflow, and what they mean to the service."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from streamforge.manager.answers import QUEUE_ID
from streamforge.manager.api.problems import invalid
from streamforge.manager.dead_letters.service import MOST_CHOSEN
from streamforge.manager.use_cases import StartRequest, StepRequest
from streamforge.manager.workflow_labels import MOST_LABELS
from streamforge.manager.workflows.series import requests
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import is_live_type, kind_of_type, normal_type
from streamforge_utils.runtime.input.dead_letter_replay import LetterPlace

_TEXT = 300
_MANY = 32
_IMAGE = (
    "It is kept and shown, and used only by a launcher that runs images: one that runs processes on the manager's own "
    "machine does nothing with it."
)


_SOURCE = (
    "Where the records come from. `auto`: each part of the range from the source that suits it best, and from another "
    "one where that fails. `archive`: from the files alone that the exchange publishes of past days and months; what "
    "has no file stays unknown, and the workflow ends in error. `rest`: by requests alone."
)


Since = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=_TEXT,
        description="Instead of a time_range, the start of a range until now: an instant (2024-08-01, `-1d`), or "
        "`last`: from where the coverage ends. Holes before that are loaded again, or named in the answer.",
    ),
]
From = Annotated[
    str | None,
    Field(
        alias="from",
        min_length=1,
        max_length=_TEXT,
        description="Where `since`: `last` begins with a series of which nothing is known.",
    ),
]
Range = Annotated[
    str | None,
    Field(
        validate_default=True,
        max_length=_TEXT,
        description="START[:END], half-open, UTC; each 2024, 2024-08, 2024-08-01 or 2024-08-01T12:30[:15]Z. Relative "
        "to now: `2024:`, `today`, `yesterday`, `-30d`; `requested` keeps the words, the range is stored as it became.",
    ),
]


Labels = Annotated[
    dict[str, str],
    Field(
        description=f"To find the workflow by: {MOST_LABELS} at most. A workflow that is joined keeps its own.",
        examples=[{"team": "research"}],
    ),
]


class RangeRequest(BaseModel):
    """A request for a time range, or since when."""

    @field_validator("time_range", check_fields=False)
    @classmethod
    def _needed(cls, time_range: str | None, others: ValidationInfo) -> str | None:
        live = is_live_type(others.data.get("type", ""))
        if time_range is None and others.data.get("since", "") is None and not live:
            raise PydanticCustomError("missing", "Field required")
        return time_range


class Start(RangeRequest):
    """Load a time range of a symbol."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"symbol": "BTCUSDT", "type": "api_candles_1m", "time_range": "2024-08-01"},
                {"symbol": "BTCUSDT", "type": "api_candles_1m", "since": "last", "from": "2024-08"},
                {
                    "symbol": "BTCUSDT",
                    "type": "api_candles_1h",
                    "time_range": "2024-08-01:2024-09-01",
                    "targets": ["loader-api-candles", "arango-candles"],
                    "parameters": {},
                },
            ]
        },
    )

    symbol: str = Field(max_length=_TEXT, description="As the exchange spells it; case does not matter.")
    type: str = Field(max_length=_TEXT, description="What is loaded: `api_candles_1m`, …")
    since: Since = None
    start: From = None
    time_range: Range = None
    targets: list[str] | None = Field(
        default=None, max_length=_MANY, description="The steps; without it, those that the type needs."
    )
    parameters: dict[str, dict[str, Any]] | None = Field(
        default=None, max_length=_MANY, description="By target, the parameters that GET /targets describes."
    )
    image: str | None = Field(default=None, max_length=_TEXT, description=f"The image of every step. {_IMAGE}")
    collection_name: str | None = Field(
        default=None,
        max_length=_TEXT,
        description="Where records go; without it, a name that follows from the request.",
    )
    again: bool = Field(default=False, description="Load also what is stored already.")
    source: SourceChoice = Field(default=SourceChoice.AUTO, description=_SOURCE)
    labels: Labels = Field(default_factory=dict)

    def request(self) -> StartRequest:
        """What the service is asked. Raises InvalidInput or ProblemError naming the field."""
        return StartRequest(
            symbol=self.symbol,
            type=self.type,
            labels=self.labels,
            time_range=self.time_range or "",
            since=self.since,
            default_start=self.start,
            steps=self._steps(),
            fixed=self.targets is not None,
            collection=self.collection_name,
            again=self.again,
            source=self.source,
        )

    def _steps(self) -> tuple[StepRequest, ...] | None:
        parameters = self.parameters or {}
        targets = self.targets
        if targets is None:
            if not parameters and self.image is None:
                return None
            type_name = normal_type(self.type)
            targets = list(requests.default_targets(type_name, self.source))
            loader = requests.archive_loader(type_name)
            if loader in parameters and loader not in targets and self.source is not SourceChoice.REST:
                targets.append(loader)
        for target in parameters:
            if target not in targets:
                raise invalid(
                    f"parameters.{target[:80]}",
                    "body",
                    f"parameters are given for {target[:80]!r}, which is no step of this workflow",
                    f"key the parameters by one of {', '.join(name[:80] for name in targets) or 'the targets'}",
                )
        return tuple(
            StepRequest(target=target, image=self.image, parameters=parameters.get(target, {})) for target in targets
        )


class Microservice(BaseModel):
    """One step of a pipeline; every other field is a parameter of its target."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(max_length=_TEXT)
    type: str = Field(max_length=_TEXT)
    image: str | None = Field(default=None, max_length=_TEXT, description=f"The image of this step. {_IMAGE}")
    interval: str | None = Field(default=None, max_length=_TEXT, description="Must agree with `type`.")
    collection_name: str | None = Field(default=None, max_length=_TEXT)


class StartPipeline(BaseModel):
    """Load a time range of a symbol, naming each step."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "symbol": "BTCUSDT",
                    "time_range": "2024-08-01",
                    "microservices": [
                        {"target": "loader-api-candles", "type": "api_candles_1m", "interval": "1m"},
                        {
                            "target": "arango-candles",
                            "type": "api_candles_1m",
                            "collection_name": "btcusdt_api_candles_1m_2024_08_01",
                        },
                    ],
                }
            ]
        },
    )

    symbol: str = Field(max_length=_TEXT)
    time_range: str = Field(max_length=_TEXT)
    microservices: list[Microservice] = Field(min_length=1, max_length=_MANY)
    again: bool = Field(default=False, description="Load also what is stored already.")
    source: SourceChoice = Field(default=SourceChoice.AUTO, description=_SOURCE)
    labels: Labels = Field(default_factory=dict)

    def request(self) -> StartRequest:
        """What the service is asked. Raises InvalidInput or ProblemError naming the field."""
        types: dict[str, int] = {}
        collections: dict[str, int] = {}
        for index, step in enumerate(self.microservices):
            types.setdefault(_type_of(step, index), index)
            if step.collection_name is not None:
                collections.setdefault(step.collection_name, index)
        _one("type", types)
        _one("collection_name", collections)
        return StartRequest(
            symbol=self.symbol,
            type=next(iter(types)),
            time_range=self.time_range,
            labels=self.labels,
            steps=tuple(
                StepRequest(target=step.target, image=step.image, parameters=dict(step.model_extra or {}))
                for step in self.microservices
            ),
            fixed=True,
            collection=next(iter(collections), None),
            again=self.again,
            source=self.source,
        )


def _type_of(step: Microservice, index: int) -> str:
    try:
        type_name = normal_type(step.type)
    except InvalidInput as error:
        raise invalid(
            f"microservices[{index}].type", "body", str(error), "choose one that the message names"
        ) from error
    if step.interval is not None:
        kind = kind_of_type(type_name)
        expected = kind.interval_of(type_name) or ""
        if kind.normal_interval(step.interval) != expected:
            raise invalid(
                f"microservices[{index}].interval",
                "body",
                f"interval {step.interval[:80]!r} does not agree with type {type_name!r}",
                f"write {expected!r}, or leave it out",
            )
    return type_name


def _one(field: str, found: dict[str, int]) -> None:
    if len(found) > 1:
        first, second = list(found)[:2]
        raise invalid(
            f"microservices[{found[second]}].{field}",
            "body",
            f"{field} {second[:80]!r} differs from {first[:80]!r} of microservices[{found[first]}]",
            "give all steps of a workflow the same one, or start two workflows",
        )


class Letter(BaseModel):
    """A dead letter, by where its record came from."""

    model_config = ConfigDict(extra="forbid")

    topic: str = Field(max_length=_TEXT)
    partition: int = Field(ge=0, lt=2**31)
    offset: int = Field(ge=0, lt=2**63)


class ReplayLetters(BaseModel):
    """Dead letters that are to be read again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"letters": [{"topic": f"{QUEUE_ID}-data", "partition": 0, "offset": 17}]},
            ]
        },
    )

    letters: list[Letter] = Field(
        min_length=1,
        max_length=MOST_CHOSEN,
        description="As GET …/dlq names them; those that do not wait are left out.",
    )

    def places(self) -> frozenset[LetterPlace]:
        """What the service is asked."""
        return frozenset(LetterPlace(one.topic, one.partition, one.offset) for one in self.letters)
