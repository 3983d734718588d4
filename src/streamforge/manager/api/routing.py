"""What every route shares: limits, strict JSON bodies, answers as JSON, media types, and the names in paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Path, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import compile_path

from streamforge.manager.answers import QUEUE_ID, FieldError
from streamforge.manager.api.problems import ProblemError
from streamforge.manager.api.sse import Followers
from streamforge.manager.engine.document import Workflow
from streamforge.manager.engine.refusals import NotFound
from streamforge.manager.feed.service import Feed
from streamforge.manager.problem_codes import ProblemCode
from streamforge.manager.workflow_service import WorkflowService
from streamforge_utils.model.names import is_queue_id
from streamforge_utils.ports.clock import Clock

SCHEMAS = "#/components/schemas/"
"""Where the OpenAPI document holds the schema of an answer, by the name of its kind."""

_PLACE = re.compile(r" ?\(byte (\d+)\)$")
_SHOWN = 40
_LONGEST_PATH = 100


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the API.

    body_bytes: of a request. body_timeout_s: for the whole body to arrive. header_bytes: of a request's head;
    header_timeout_s: for it to arrive. send_timeout_s: a client that takes nothing for so long is cut off.
    requests: served at once, beyond which 503; followers: live event streams among them.
    keep_alive_s: silence on an event stream before a comment is sent. retry_after_s: what a 503 advises.
    feed_stall_s: a client that takes so long for a part of the feed is ended. feed_every_s: from one part to the next.
    """

    body_bytes: int = 256 * 1024
    body_timeout_s: float = 10.0
    header_bytes: int = 32 * 1024
    header_timeout_s: float = 10.0
    send_timeout_s: float = 300.0
    requests: int = 128
    followers: int = 64
    keep_alive_s: float = 15.0
    retry_after_s: float = 2.0
    feed_stall_s: float = 30.0
    feed_every_s: float = 1.0


class Context(msgspec.Struct, frozen=True):
    """What routes work with; kept in the application's state."""

    service: WorkflowService
    limits: Limits
    followers: Followers
    clock: Clock
    feed: Feed


class StrictRequest(Request):
    """Reads JSON as RFC 8259 has it: no NaN, no lone surrogates, no endless nesting."""

    async def json(self) -> Any:
        """The body. Raises ProblemError (400)."""
        body = await self.body()
        try:
            return msgspec.json.decode(body)
        except RecursionError:
            raise _bad_json("it is nested too deeply") from None
        except (msgspec.DecodeError, ValueError) as error:
            raise _bad_json(_where(body, error)) from None


class StrictRoute(APIRoute):
    """A route whose body is JSON and says so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None
        must = self.body_field is not None and self.body_field.field_info.is_required()

        async def strict(request: Request) -> Response:
            strict_request = StrictRequest(request.scope, request.receive)
            given = takes_body and (must or await strict_request.body() != b"")
            if given and not _is_json(request.headers.get("content-type", "")):
                raise ProblemError(
                    415,
                    "unsupported-media-type",
                    f"Content-Type {request.headers.get('content-type', '')[:80]!r} is not understood",
                    next_step="send JSON with Content-Type: application/json",
                )
            if given:
                await strict_request.json()  # where FastAPI reads it, a failure would lose its reason
            return await handle(strict_request)

        return strict


def context(request: Request) -> Context:
    """The context of the application that serves `request`."""
    found: Context = request.app.state.context
    return found


In = Annotated[Context, Depends(context)]


def allowed_methods(request: Request) -> list[str]:
    """The methods that there are for the path of `request`; a path of its own goes before one with a name in it."""
    path, paths = request.scope["path"], request.app.openapi()["paths"]
    names = [path] if path in paths else [name for name in paths if compile_path(name)[0].match(path)]
    return sorted({method.upper() for name in names for method in paths[name]})


def wrong_method(request: Request, known: str = "") -> ProblemError:
    """There is something at the path, but not for this method (405). known: what takes a path that is not described."""
    allowed = ", ".join(allowed_methods(request) or sorted(known.replace(",", " ").split()))
    return ProblemError(
        405,
        "method-not-allowed",
        f"{request.method[:20]} {request.scope['path'][:_LONGEST_PATH]} is not possible: the path takes {allowed}",
        next_step=f"send {allowed}; GET /openapi.json says what each does",
        headers={"Allow": allowed},
    )


def queue_id(
    queue_id: Annotated[str, Path(description="The workflow's name.", examples=[QUEUE_ID])], request: Request
) -> str:
    """The queue_id of the path. Raises NotFound if it cannot be one, ProblemError if the path is another one's."""
    lower = queue_id.lower()
    if not is_queue_id(lower):
        if request.method not in allowed_methods(request):
            raise wrong_method(request)
        text = f"there is no workflow {queue_id[:80]!r}: a queue_id looks like {QUEUE_ID}"
        raise NotFound(text, code=ProblemCode.WORKFLOW_UNKNOWN)
    return lower


QueueId = Annotated[str, Depends(queue_id)]


async def no_driver_reason(to: Context, workflows: Iterable[Workflow]) -> str | None:
    """Why no manager drives the workflows, if one of them has not ended."""
    return None if all(found.ended for found in workflows) else await to.service.no_driver_reason()


def gives(
    kind: type[msgspec.Struct], status: int = 200, *, also: Mapping[str, Any] | None = None, **more: Any
) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of an answer (`responses` of a route): JSON of this kind, and `more`, such as headers.

    also: other media types that it may have.
    """
    content = {"application/json": {"schema": {"$ref": SCHEMAS + kind.__name__}}, **(also or {})}
    return {status: {"content": content, **more}}


def reply(answer: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The answer as JSON."""
    return Response(msgspec.json.encode(answer), status, headers, "application/json")


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _where(body: bytes, error: Exception) -> str:
    """What is wrong with the body and at which place."""
    said = str(error).removeprefix("JSON is malformed: ")
    if not body.strip():
        return "it is empty"
    if (found := _PLACE.search(said)) is None:
        return f"it ends too early, after {_shown(body)}" if "truncated" in said else said
    at = int(found[1])
    before = f"after {_shown(body[:at])}" if at else "at its beginning"
    return f"{said[: found.start()].strip()} at byte {at}, {before}"


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return repr(text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}")


def _bad_json(reason: str) -> ProblemError:
    next_step = "send JSON, with every text and name in double quotes; GET /openapi.json has an example"
    error = FieldError(field="body", where="body", message=reason, next_step=next_step)
    return ProblemError(400, "malformed-json", f"the body is not JSON: {reason}", next_step=next_step, errors=[error])


def preferred(accept: str | None, offers: Sequence[str]) -> str:
    """The offer with the greatest weight; the first of equals; the first one where none is acceptable.

    offers: media types without parameters.
    """
    if not accept:
        return offers[0]
    wanted = [weighted(part) for part in accept.split(",")[:50]]
    best, best_weight = offers[0], 0.0
    for offer in offers:
        matches = [(specificity, weight) for kind, weight in wanted if (specificity := _match(kind, offer)) > 0]
        weight = max(matches)[1] if matches else 0.0
        if weight > best_weight:
            best, best_weight = offer, weight
    return best


def weighted(part: str) -> tuple[str, float]:
    """A part of a header such as Accept, and its weight, from 0 to 1."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
            weight = weight if 0.0 <= weight <= 1.0 else 0.0
    return kind, weight


def _match(kind: str, offer: str) -> int:
    if kind == offer:
        return 3
    if kind == f"{offer.partition('/')[0]}/*":
        return 2
    return 1 if kind == "*/*" else 0
