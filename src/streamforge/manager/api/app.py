"""The application: routes, guards, and the OpenAPI description of all of them.

The description is FastAPI's own, with the answers, the problems, the roles and the two open probes added.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import msgspec
from fastapi import FastAPI

from streamforge.manager import answers, listing_answers, plan_answers, start_answers, topic_answers
from streamforge.manager.api import (
    access_routes,
    error_answers,
    plan_routes,
    queue_routes,
    topic_input_routes,
    topic_routes,
    ui_files,
)
from streamforge.manager.api.compression import Compression
from streamforge.manager.api.guard import Addresses, Authentication, Guard, role_needed
from streamforge.manager.api.problems import MEDIA_TYPE, TYPE_PREFIX
from streamforge.manager.api.routing import SCHEMAS, Context, Limits
from streamforge.manager.api.sse import Followers
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.bars import answers as bar_answers
from streamforge.manager.bars import routes as bar_routes
from streamforge.manager.batches import answers as batch_answers
from streamforge.manager.batches import routes as batch_routes
from streamforge.manager.books import answers as book_answers
from streamforge.manager.catalogue import answers as catalogue_answers
from streamforge.manager.catalogue import routes as catalogue_routes
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.coverage import routes as data_routes
from streamforge.manager.dead_letters import answers as dead_letter_answers
from streamforge.manager.dead_letters import routes as dead_letter_routes
from streamforge.manager.feed import answers as feed_answers
from streamforge.manager.feed import routes as feed_routes
from streamforge.manager.feed.service import Feed
from streamforge.manager.graphs import answers as graph_answers
from streamforge.manager.graphs import routes as graph_routes
from streamforge.manager.health import answers as health_answers
from streamforge.manager.health import routes as health_routes
from streamforge.manager.logs import answers as log_answers
from streamforge.manager.logs import routes as log_routes
from streamforge.manager.models import answers as model_answers
from streamforge.manager.models import routes as model_routes
from streamforge.manager.origin import Source
from streamforge.manager.schedules import answers as schedule_answers
from streamforge.manager.schedules import routes as schedule_routes
from streamforge.manager.workflow_service import WorkflowService
from streamforge.version import installed_version
from streamforge_utils.ports.clock import Clock, SystemClock

_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_ALWAYS = {
    400: "The request is malformed.",
    403: "The token's role does not suffice; without tokens, the request comes from elsewhere.",
    408: "The request's body did not arrive in time.",
    413: "The request's body is too large.",
    422: "An input is not acceptable: `errors` names it and what to do.",
    431: "The request's address and headers are too large.",
    503: "Something needed does not answer, or the server is busy: try again after Retry-After.",
}
_UNAUTHORIZED = "The request carries no token that is known."
_NOT_FOUND = "There is nothing of that name."
_NOT_NOW = "Not possible in the workflow's present status."
_UNSUPPORTED = "The body is not JSON."
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}

_PROBLEM = {
    "type": f"{TYPE_PREFIX}not-found",
    "code": "workflow-unknown",
    "title": "Not found",
    "status": 404,
    "detail": "there is no workflow 'wf-btcusdt-api_candles_1m-20240801-abc123'",
    "instance": "/queues/wf-btcusdt-api_candles_1m-20240801-abc123",
    "next_step": "list the workflows with GET /queues",
    "errors": [],
    "did_you_mean": [],
}


def describe(app: FastAPI) -> None:
    """Let `app.openapi()` give the whole description; it is made once."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(plain())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas.update(_answers())
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "Roles: reader (GET) and operator (everything). A server without tokens asks for none.",
        }
    }
    for path, item in schema["paths"].items():
        for method in _METHODS:
            if method in item:
                _complete_operation(item[method], method, path)
    return schema


def _answers() -> dict[str, Any]:
    """The schemas of all that is answered, by name."""
    of_workflows = (answers, listing_answers, start_answers, plan_answers, log_answers, batch_answers, schedule_answers)
    of_data = (
        data_answers,
        bar_answers,
        book_answers,
        topic_answers,
        dead_letter_answers,
        graph_answers,
        model_answers,
    )
    modules = (*of_workflows, *of_data, access_routes, catalogue_answers, feed_answers, health_answers)
    kinds: list[type[msgspec.Struct]] = [Source, *(kind for module in modules for kind in _structs(module))]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=SCHEMAS + "{name}")
    optional = {
        kind.__name__: {field.encode_name for field in msgspec.structs.fields(kind) if field.default is msgspec.UNSET}
        for kind in kinds
    }
    for name, schema in schemas.items():
        schema["description"] = inspect.cleandoc(schema["description"])
        schema["additionalProperties"] = False
        # An answer holds every field but those that are unset, so no default counts.
        schema["required"] = [field for field in schema["properties"] if field not in optional.get(name, ())]
        for field in schema["properties"].values():
            field.pop("default", None)
    schemas["Problem"]["examples"] = [_PROBLEM]
    return schemas


def _structs(module: ModuleType) -> list[type[msgspec.Struct]]:
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    return sorted(found, key=lambda kind: kind.__name__)


def _complete_operation(operation: dict[str, Any], method: str, path: str) -> None:
    role = role_needed(method.upper(), path)
    operation["security"] = [] if role is None else [{"bearer": [role.value]}]
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own form of it
    found = dict(_ALWAYS)
    if role is not None:
        found[401] = _UNAUTHORIZED
    if "{" in path:
        found[404] = _NOT_FOUND
    if "{" in path and method != "get":
        found[409] = _NOT_NOW
    if "requestBody" in operation:
        found[415] = _UNSUPPORTED
    for status, text in sorted(found.items()):
        answer = responses.setdefault(str(status), {"description": text})
        answer.setdefault("content", {})[MEDIA_TYPE] = {"schema": {"$ref": f"{SCHEMAS}Problem"}}
        if status == 503:
            answer["headers"] = _RETRY_AFTER


def create_app(
    service: WorkflowService, *, tokens: Tokens | None = None, limits: Limits | None = None, clock: Clock | None = None
) -> FastAPI:
    """The HTTP API on top of `service`.

    tokens: who may do what. Without them only requests that name this machine as their host are served, and none
    that a web page of another origin sends. clock: for ranges that are relative to now; the machine's by default.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="StreamForge queue-manager",
        version=installed_version(),
        openapi_url="/openapi.json",
        docs_url=None,  # the interactive pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    followers, clock = Followers(limits.followers, limits.retry_after_s), clock or SystemClock()
    feed = Feed(service, clock, every_s=limits.feed_every_s, stall_s=limits.feed_stall_s)
    app.state.context = Context(service, limits, followers, clock, feed)
    error_answers.install(app)
    workflow_routes = (queue_routes, log_routes, dead_letter_routes, topic_input_routes)
    modules = (
        *workflow_routes,
        topic_routes,
        plan_routes,
        batch_routes,
        schedule_routes,
        data_routes,
        catalogue_routes,
        access_routes,
        bar_routes,
        feed_routes,
        health_routes,
        graph_routes,
        model_routes,
    )
    for router in (module.router for module in modules):
        app.include_router(router)
    app.router.routes.extend(ui_files.routes())
    describe(app)
    app.add_middleware(Compression)
    app.add_middleware(Addresses)
    app.add_middleware(Authentication, tokens=tokens)
    app.add_middleware(Guard, limits=limits)  # added last: outermost
    return app
