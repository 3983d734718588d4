"""The routes of schedules, and the requests that they take."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from streamforge.manager.api.routing import In, StrictRoute, gives, reply
from streamforge.manager.schedules import answers as schedule_answers
from streamforge.manager.schedules.model import Definition, Missed
from streamforge.manager.schedules.presentation import run_answer, schedule_answer
from streamforge.manager.schedules.store import RUNS_KEPT
from streamforge.manager.workflows.series.model import SourceChoice

router = APIRouter(route_class=StrictRoute, tags=["schedules"])

_TEXT = 300
_MANY = 2000
_CRON = "Five fields: minute, hour, day, month, weekday; it fires once a minute at most."
_MISSED = "Fire times that pass while no manager runs, or while the run before goes on: made up for, or skipped."
_SINCE = "An instant such as `-1d`, from which each run loads until its fire time; or `last`: what is new since the \
coverage's end. Without it and without a time_range: `last`."
_RANGE = "As of POST /queues/start, resolved at each fire time, in UTC: `yesterday`, `-2d:-1d`."
_FROM = "Where `since`: `last` begins with a series of which nothing is known."
Name = Annotated[str, Path(description="The schedule's name.", examples=["nightly"])]


class _Definition(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    timezone: str | None = Field(default=None, max_length=_TEXT, description="Of the tz database; UTC by default.")
    missed: Missed | None = Field(default=None, description=f"{_MISSED} By default made up for.")
    time_range: str | None = Field(default=None, min_length=1, max_length=_TEXT, description=_RANGE)
    since: str | None = Field(default=None, min_length=1, max_length=_TEXT, description=_SINCE)
    start: str | None = Field(default=None, alias="from", min_length=1, max_length=_TEXT, description=_FROM)
    labels: dict[str, str] | None = Field(default=None, description="Of each workflow, as of POST /queues/start.")
    source: SourceChoice | None = Field(default=None, description="As of POST /queues/start; `auto` by default.")

    def changes(self) -> dict[str, Any]:
        """The fields of the definition that the request names."""
        found = {name: value for name, value in self if value is not None and name not in ("name", "paused")}
        if "symbols" in found:
            found["symbols"] = tuple(found["symbols"])
        if "start" in found:
            found["default_start"] = found.pop("start")
        if {"time_range", "since"} & found.keys():  # one range in the place of another
            found = {"time_range": "", "since": None, "default_start": None, **found}
        return found


class AddSchedule(_Definition):
    """Load some symbols again and again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly",
                    "symbols": ["BTCUSDT", "ETHUSDT"],
                    "type": "api_candles_1m",
                    "cron": "5 0 * * *",
                    "timezone": "Europe/Moscow",
                    "since": "last",
                    "from": "2024",
                }
            ]
        }
    )

    name: str = Field(max_length=_TEXT, description="Letters, digits, `.`, `_` and `-`.")
    symbols: list[str] = Field(
        min_length=1, max_length=_MANY, description="Also patterns, `*USDT`; each run makes a workflow of each."
    )
    type: str = Field(
        max_length=_TEXT,
        description="What is loaded: `api_candles_1m`, …; `gnn_score`: `symbols` are models, which score.",
    )
    cron: str = Field(max_length=_TEXT, description=_CRON)

    def definition(self) -> Definition:
        """The schedule asked for."""
        return Definition(**self.changes())


class ChangeSchedule(_Definition):
    """Change what is named, pause or resume."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"paused": True}, {"cron": "0 */4 * * *"}]})

    paused: bool | None = Field(default=None, description="A paused one does not fire, and is not made up for.")
    symbols: list[str] | None = Field(default=None, min_length=1, max_length=_MANY)
    type: str | None = Field(default=None, max_length=_TEXT)
    cron: str | None = Field(default=None, max_length=_TEXT, description=_CRON)


@router.post(
    "/schedules",
    status_code=201,
    responses=gives(schedule_answers.Schedule, 201, description="Added; it fires from now on.")
    | gives(schedule_answers.Schedule, description="There is the same one already."),
    summary="Add a schedule",
)
async def add(body: AddSchedule, to: In) -> Response:
    found, new = await to.service.schedules.add(body.name, body.definition())
    return reply(schedule_answer(found), 201 if new else 200, {"Location": f"/schedules/{found.schedule.name}"})


@router.get("/schedules", responses=gives(schedule_answers.Schedules), summary="List the schedules")
async def find(to: In) -> Response:
    found = await to.service.schedules.list()
    unreadable = dict(to.service.schedules.unreadable)
    return reply(schedule_answers.Schedules(schedules=[schedule_answer(one) for one in found], unreadable=unreadable))


@router.get("/schedules/{name}", responses=gives(schedule_answers.Schedule), summary="Show a schedule")
async def show(name: Name, to: In) -> Response:
    return reply(schedule_answer(await to.service.schedules.get(name)))


@router.patch(
    "/schedules/{name}", responses=gives(schedule_answers.Schedule), summary="Change, pause or resume a schedule"
)
async def change(name: Name, body: ChangeSchedule, to: In) -> Response:
    return reply(schedule_answer(await to.service.schedules.change(name, body.changes(), paused=body.paused)))


@router.delete(
    "/schedules/{name}",
    status_code=204,
    summary="Forget a schedule",
    responses={204: {"description": "Forgotten with its history; workflows go on, and what they loaded stays."}},
)
async def remove(name: Name, to: In) -> Response:
    await to.service.schedules.remove(name)
    return Response(status_code=204)


@router.get("/schedules/{name}/runs", responses=gives(schedule_answers.ScheduleRuns), summary="The runs of a schedule")
async def runs(
    name: Name, to: In, limit: Annotated[int, Query(ge=1, le=RUNS_KEPT, description="At most so many.")] = RUNS_KEPT
) -> Response:
    found = await to.service.schedules.runs(name, limit=limit)
    return reply(schedule_answers.ScheduleRuns(name=name, runs=[run_answer(one) for one in found]))


@router.post(
    "/schedules/{name}/run",
    status_code=202,
    responses=gives(schedule_answers.Schedule, 202, description="Its run, `current`, begins by itself."),
    summary="Let a schedule run now",
)
async def run(name: Name, to: In) -> Response:
    return reply(schedule_answer(await to.service.schedules.run(name)), 202)
