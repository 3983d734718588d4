"""What every route shares: strict JSON bodies, answers from models, and the forms of names in paths."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Path, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.responses import Response

from streamforge.manager.api.limits import Limits
from streamforge.manager.api.models import QUEUE_ID
from streamforge.manager.api.problems import FieldError, ProblemError
from streamforge.manager.api.sse import Followers
from streamforge.manager.service import NotFound, Service
from streamforge_utils.model.names import is_queue_id


class Context(msgspec.Struct, frozen=True):
    """What routes work with; kept in the application's state."""

    service: Service
    limits: Limits
    followers: Followers


class StrictRequest(Request):
    """Reads JSON as RFC 8259 has it: no NaN, no lone surrogates, no endless nesting."""

    async def json(self) -> Any:
        """The body. Raises ProblemError (400)."""
        try:
            return msgspec.json.decode(await self.body())
        except RecursionError:
            raise _bad_json("it is nested too deeply") from None
        except (msgspec.DecodeError, ValueError) as error:
            raise _bad_json(str(error)) from None


class StrictRoute(APIRoute):
    """A route whose body is JSON and says so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if takes_body and not _is_json(request.headers.get("content-type", "")):
                raise ProblemError(
                    415,
                    "unsupported-media-type",
                    f"Content-Type {request.headers.get('content-type', '')[:80]!r} is not understood",
                    next_step="send JSON with Content-Type: application/json",
                )
            strict_request = StrictRequest(request.scope, request.receive)
            if takes_body:
                await strict_request.json()  # where FastAPI reads it, a failure would lose its reason
            return await handle(strict_request)

        return strict


def context(request: Request) -> Context:
    """The context of the application that serves `request`."""
    found: Context = request.app.state.context
    return found


In = Annotated[Context, Depends(context)]


def queue_id(
    queue_id: Annotated[str, Path(description="The workflow's name.", examples=[QUEUE_ID])],
) -> str:
    """The queue_id of the path. Raises NotFound if it cannot be one."""
    if not is_queue_id(queue_id):
        raise NotFound(f"there is no workflow {queue_id[:80]!r}: a queue_id looks like {QUEUE_ID}")
    return queue_id


QueueId = Annotated[str, Depends(queue_id)]


def reply(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The model as JSON."""
    return Response(model.model_dump_json(), status, headers, "application/json")


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _bad_json(reason: str) -> ProblemError:
    next_step = "send well-formed JSON (RFC 8259)"
    error = FieldError(field="body", where="body", message=reason, next_step=next_step)
    return ProblemError(400, "malformed-json", f"the body is not JSON: {reason}", next_step=next_step, errors=[error])
