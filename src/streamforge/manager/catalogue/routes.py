"""The routes that describe: targets, schemas of messages, the topics; and the two probes."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from streamforge.manager import answers
from streamforge.manager.api import ui_files
from streamforge.manager.api.guard import is_unauthenticated
from streamforge.manager.api.routing import In, StrictRoute, gives, preferred, reply
from streamforge.manager.catalogue import answers as catalogue_answers
from streamforge.manager.catalogue import asyncapi, schemas
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.origin import Source
from streamforge_utils.model.spelling import did_you_mean

HIDDEN_REASON = "it does not work: the manager's log says why, and so does the answer to a reader's token"
"""What a probe says of a part to a client without a token."""

router = APIRouter(route_class=StrictRoute)

_INDEX = gives(catalogue_answers.Index, also={"text/html": {"schema": {"type": "string"}}})


@router.get("/", responses=_INDEX, tags=["catalogue"], summary="Where to go on from here")
@router.get("/docs", responses=_INDEX, tags=["catalogue"], summary="The same as /")
async def index(request: Request) -> Response:
    app: FastAPI = request.app
    described = app.openapi()
    links = [
        catalogue_answers.Link(
            path="/openapi.json", summary="Every path with its parameters and answers, as OpenAPI 3.1"
        )
    ]
    links += [
        catalogue_answers.Link(path=path, summary=item["get"]["summary"])
        for path, item in described["paths"].items()
        if "get" in item and path not in ("/", "/docs")
    ]
    found = catalogue_answers.Index(version=app.version, links=links)
    if preferred(request.headers.get("accept"), ("application/json", "text/html")) == "text/html":
        return HTMLResponse(_page(found))
    return reply(found)


def _page(found: catalogue_answers.Index) -> str:
    """The same for a browser, which may load nothing else: no script, no style."""
    rows = "".join(
        f"<li>{f'<a href={link.path}>{link.path}</a>' if '{' not in link.path else f'<code>{link.path}</code>'}: "
        f"{escape(link.summary)}</li>"
        for link in found.links
    )
    title = f"StreamForge {found.service} {escape(found.version)}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>"
        f"<p><a href={ui_files.PATH}>The web UI</a></p><ul>{rows}</ul>"
    )


@router.get("/targets", responses=gives(catalogue_answers.Targets), tags=["catalogue"], summary="The kinds of workers")
async def targets() -> Response:
    return reply(catalogue_answers.targets_answer())


@router.get(
    "/exchange", responses=gives(Source), tags=["catalogue"], summary="The exchange that the manager loads from"
)
async def exchange(to: In) -> Response:
    return reply(to.service.source)


@router.get(
    "/schemas", responses=gives(catalogue_answers.Schemas), tags=["catalogue"], summary="The messages on the topics"
)
async def list_schemas() -> Response:
    return reply(catalogue_answers.schemas_answer())


@router.get(
    "/schemas/{name}",
    tags=["catalogue"],
    summary="The JSON Schema of a message",
    responses={200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}}},
    response_class=JSONResponse,
)
async def schema(name: Annotated[str, Path(examples=["candle"])]) -> Response:
    found: dict[str, dict[str, Any]] = schemas.message_schemas()
    if name not in found:
        advice = did_you_mean(name, tuple(found)) or f": choose one of {', '.join(found)}"
        raise NotFound(f"there is no schema {name[:80]!r}{advice}")
    return JSONResponse(found[name], media_type="application/schema+json")


@router.get("/asyncapi.json", tags=["catalogue"], summary="The topics, as AsyncAPI")
async def asyncapi_document() -> dict[str, Any]:
    return asyncapi.document()


@router.get("/healthz", responses=gives(answers.Health), tags=["probes"], summary="Whether the process lives")
async def health() -> Response:
    return reply(answers.Health())


@router.get(
    "/readyz",
    tags=["probes"],
    summary="Whether requests are taken and workflows driven; says what of bus, store and launcher does not work, and "
    "why to who may read",
    responses={
        **gives(answers.Readiness),
        **gives(answers.Readiness, 503, description="Something does not work; the answer says what."),
    },
)
async def ready(to: In, request: Request) -> Response:
    parts = await to.service.readiness.look()
    wrong = {name for name, reason in parts.items() if reason is not None}
    # Without its launcher it still takes requests, hears workers and tells how far they are: a client that is sent
    # away from it would lose all of that. A launcher that fails the loop shows as the reconciler's failure.
    works = not wrong - {"launcher"}
    headers = {} if works else {"Retry-After": "5"}
    if is_unauthenticated(request.scope):
        parts = {name: None if reason is None else HIDDEN_REASON for name, reason in parts.items()}
    readiness = answers.Readiness(ready=works, degraded=works and bool(wrong), parts=parts)
    return reply(readiness, 200 if works else 503, headers)
