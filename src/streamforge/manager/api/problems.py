"""Every answer that is not what was asked for, as an RFC 9457 problem document (`application/problem+json`).

A problem says what failed, on which input, and what to do; it never holds a stack trace or a secret.
"""

from __future__ import annotations

import http
import math
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from streamforge.manager.answers import FieldError, Problem
from streamforge.manager.problem_codes import ProblemCode

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:streamforge:problem:"
_SHOWN = 200
_TITLES = {"malformed-json": "The body is not JSON"}


class ProblemError(Exception):
    """Ends a request with a problem document. retry_after: seconds. kind: what clients tell problems apart by, as they
    did before there were codes; code: a closer one, a `ProblemCode` as kinds are; by default the kind."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        next_step: str,
        errors: Sequence[FieldError] = (),
        did_you_mean: Sequence[str] = (),
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        code: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.code = code or kind
        self.detail = detail
        self.next_step = next_step
        self.errors = list(errors)
        self.did_you_mean = list(did_you_mean)
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(min(retry_after, 86_400))))

    def response(self, path: str, more: Sequence[tuple[bytes, bytes]] = ()) -> Response:
        """The answer to a request for `path`. more: headers beside those of the problem."""
        problem = Problem(
            type=TYPE_PREFIX + self.kind,
            code=self.code,
            title=title(self.kind),
            status=self.status,
            detail=printable(self.detail, 2_000),
            instance=quote(path, safe="/:@-._~!$&'()*+,;=")[:_SHOWN],
            next_step=self.next_step,
            errors=self.errors,
            did_you_mean=[printable(name) for name in self.did_you_mean],
        )
        response = Response(msgspec.json.encode(problem), self.status, self.headers, MEDIA_TYPE)
        response.raw_headers.extend(more)
        return response


def title(kind: str) -> str:
    """A kind of problem in words."""
    return _TITLES.get(kind) or kind.replace("-", " ").capitalize()


def kind_of(status: int) -> str:
    """The kind of problem of an HTTP status without a closer reason."""
    try:
        return ProblemCode(http.HTTPStatus(status).phrase.lower().replace(" ", "-"))
    except ValueError:
        return ProblemCode.INTERNAL_ERROR if status >= 500 else ProblemCode.BAD_REQUEST


def printable(text: str, limit: int = _SHOWN) -> str:
    """`text` without control characters and lone surrogates, cut to `limit` characters."""
    shown = "".join(
        c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def invalid(field: str, where: str, message: str, next_step: str) -> ProblemError:
    """One input is not acceptable (422)."""
    error = FieldError(field=field, where=where, message=printable(message), next_step=next_step)
    return ProblemError(422, "invalid-input", message, next_step=next_step, errors=[error])
