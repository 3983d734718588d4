"""Turns the errors of the service and of the framework into problem documents."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streamforge.manager.answers import FieldError
from streamforge.manager.api.problems import ProblemError, invalid, kind_of, printable
from streamforge.manager.api.routing import wrong_method
from streamforge.manager.engine.refusals import NotFound, NotNow
from streamforge.manager.use_cases import Incomplete, KeyReused
from streamforge_utils.model.errors import (
    ConfigError,
    ConflictError,
    DamagedFile,
    InvalidInput,
    PermanentError,
    RetryableError,
    StreamForgeError,
)

log = logging.getLogger(__name__)

REFERENCE = "see GET /openapi.json for what this request accepts"
_NEXT_STEPS = {
    400: "send a well-formed HTTP request; " + REFERENCE,
    404: "GET /openapi.json lists the paths of this server",
}
_BY_RULE = {
    "missing": "add it",
    "extra_forbidden": "remove it: the request has no field of this name",
    "json_type": "send an application/json body",
    "string_too_long": "shorten it",
    "string_too_short": "give it a value",
}
_MUST = ", it must be "
_BODY_PLACES = ("query", "path", "header", "body", "cookie")


def problem_of(error: Exception) -> ProblemError:
    """The problem document that `error` becomes; an unexpected error is logged and named by an incident."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, RequestValidationError):
        return _validation(error.errors())
    if isinstance(error, HTTPException):
        return _http(error)
    if isinstance(error, StreamForgeError):
        return _known(error)
    return unexpected(error)


def unexpected(error: BaseException) -> ProblemError:
    """A fault of ours: its details go to the log, its incident to the client."""
    incident = secrets.token_hex(4)
    log.error("incident %s: %s", incident, type(error).__name__, exc_info=error)
    return ProblemError(
        500,
        "internal-error",
        f"the server failed on this request; its log names the reason under incident {incident}",
        next_step=f"report incident {incident} to the operator of this server; trying again is safe",
    )


def install(app: FastAPI) -> None:
    """Let every error of `app` be answered with a problem document."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            problem = wrong_method(request, (error.headers or {}).get("Allow", ""))
        elif isinstance(error, HTTPException) and error.status_code == 404:
            problem = _http(HTTPException(404, f"there is nothing at {request.scope['path'][:200]!r}"))
        else:
            problem = problem_of(error)
        if isinstance(error, InvalidInput):
            problem.errors = [
                msgspec.structs.replace(item, where=_place(item.field, request)) for item in problem.errors
            ]
        return problem.response(request.url.path)

    for kind in (ProblemError, RequestValidationError, HTTPException, StreamForgeError):
        app.add_exception_handler(kind, handle)


ONE, MANY, AGAIN = "<one>", "<many>", "<again>"
"""The forms of a body that may have either; no part of a field's name."""
_AGAIN = "send the same request again after Retry-After"
_KINDS_OF_ERRORS: tuple[tuple[type[StreamForgeError], int, str, str], ...] = (
    (NotFound, 404, "not-found", "list what there is with GET /queues, /series, /collections or /targets"),
    (NotNow, 409, "not-now", "look at the workflow's status with GET /queues/{queue_id}"),
    (Incomplete, 409, "incomplete", "count it with POST /coverage/{symbol}/{type}/verify, then load what it lacks"),
    (KeyReused, 422, "idempotency-key-reused", "send a new Idempotency-Key, or the request that came with this one"),
    (RetryableError, 503, "unavailable", _AGAIN),
    (ConflictError, 503, "busy", _AGAIN),
    (DamagedFile, 503, "configuration", "once that is done, send the same request again"),
    (ConfigError, 503, "configuration", "change the manager's settings and start it again"),
    (PermanentError, 422, "not-possible", f"change the request: {REFERENCE}"),
)
"""Status, kind and next step of the problem that an error becomes; the first class that fits counts."""
_RETRY_AFTER_S = {"unavailable": 5.0, "busy": 1.0}


def _known(error: StreamForgeError) -> ProblemError:
    message = str(error)
    if isinstance(error, InvalidInput):
        found_invalid = invalid(error.field, "body", message, _choice(message))
        found_invalid.code, found_invalid.did_you_mean = error.code or found_invalid.code, list(error.meant)
        others = [_known(one) for one in error.also]
        found_invalid.detail = "; ".join([message, *(one.detail for one in others)])
        found_invalid.errors = [named for one in (found_invalid, *others) for named in one.errors]
        found_invalid.did_you_mean += [meant for one in others for meant in one.did_you_mean]
        return found_invalid
    found = next((one for one in _KINDS_OF_ERRORS if isinstance(error, one[0])), None)
    if found is None:
        return unexpected(error)
    _, status, kind, next_step = found
    wait_s = getattr(error, "retry_after", None)
    wait_s = _RETRY_AFTER_S.get(kind) if wait_s is None else wait_s
    problem = ProblemError(status, kind, message, next_step=next_step, retry_after=wait_s)
    if isinstance(error, NotFound):
        problem.did_you_mean, problem.code = list(error.meant), error.code
    elif isinstance(error, Incomplete):
        problem.next_step = next_step.format(symbol=error.symbol, type=error.type)
    elif isinstance(error, KeyReused):
        problem.errors = [
            FieldError(field="Idempotency-Key", where="header", message=printable(message), next_step=next_step)
        ]
    return problem


def _http(error: HTTPException) -> ProblemError:
    next_step = _NEXT_STEPS.get(error.status_code, REFERENCE)
    return ProblemError(
        error.status_code, kind_of(error.status_code), error.detail, next_step=next_step, headers=error.headers
    )


def _validation(found: Sequence[Mapping[str, Any]]) -> ProblemError:
    listed = found[:50]
    errors = _merged([_field_error(item) for item in listed])
    first, others = errors[0], len(found) - len(listed) + len(errors) - 1
    more = f" (and {others} more)" if others else ""
    name = f"the {first.where}" if first.field == first.where else f"{first.where} {first.field}"
    return ProblemError(
        422,
        "invalid-input",
        f"{name}: {first.message}{more}",
        next_step=first.next_step,
        errors=errors,
    )


def _field_error(item: Mapping[str, Any]) -> FieldError:
    path = list(item["loc"])
    where = str(path.pop(0)) if path and path[0] in _BODY_PLACES else "body"
    if path and path[0] in (ONE, MANY, AGAIN):
        path.pop(0)
    rule = str(item["type"])
    if where != "body":
        path = [part for index, part in enumerate(path) if index == 0 or isinstance(part, int)]  # without its kind
    return FieldError(
        field=printable(field_path(path)) or where,
        where=where,
        message=printable(in_words(item)),
        next_step=_BY_RULE.get(rule, REFERENCE),
    )


def _merged(errors: Sequence[FieldError]) -> list[FieldError]:
    """One for each input: of one that may be of several kinds, all of them are named."""
    by_input: dict[tuple[str, str], FieldError] = {}
    for error in errors:
        before = by_input.get((error.where, error.field))
        given, must, _ = error.message.partition(_MUST)
        if before is not None and must and before.message.startswith(given + must):
            message = f"{before.message} or {error.message.removeprefix(given + must)}"
            error = msgspec.structs.replace(before, message=message)
        by_input[error.where, error.field] = error if before is None or must else before
    return list(by_input.values())


def field_path(path: Sequence[object]) -> str:
    """`microservices[0].type`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _place(field: str, request: Request) -> str:
    if field in request.path_params:
        return "path"
    return "body" if request.method in ("POST", "PATCH") and field not in request.query_params else "query"


def _choice(message: str) -> str:
    return "choose one that the message names" if "choose" in message else f"correct it; {REFERENCE}"


_SHOWN = 60

_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": "this field is not permitted",
    "json_invalid": "the body is no JSON: {error}",
    "too_short": "it has {actual_length} items, it must have at least {min_length}",
    "too_long": "it has {actual_length} items, it must have at most {max_length}",
    "string_too_short": "it is {value}, it must have at least {min_length} characters",
    "string_too_long": "it is {value}, it must have at most {max_length} characters",
    "string_pattern_mismatch": "it is {value}, it must match {pattern}",
    "greater_than": "it is {value}, it must be above {gt}",
    "greater_than_equal": "it is {value}, it must be at least {ge}",
    "less_than": "it is {value}, it must be below {lt}",
    "less_than_equal": "it is {value}, it must be at most {le}",
    "literal_error": "it is {value}, it must be {expected}",
    "enum": "it is {value}, it must be {expected}",
    "finite_number": "it is {value}, it must be a finite number",
}
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
}


def in_words(item: Mapping[str, Any]) -> str:
    """One finding of the validation; a rule without words of ours keeps the library's."""
    rule, value = str(item["type"]), shown(item.get("input"))
    kind = _KINDS.get(rule.partition("_")[0])
    if rule not in _WORDS and kind is not None:
        return f"it is {value}, it must be {kind}"
    try:
        return _WORDS[rule].format_map({**item.get("ctx", {}), "value": value})
    except KeyError:
        return str(item["msg"])


def shown(value: object) -> str:
    """A value that came as JSON, on one line and not too long."""
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case None:
            return "null"
        case bool():
            return str(value).lower()
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
