"""What kinds of problems the API answers: words for programs, which stay."""

from __future__ import annotations

from enum import StrEnum


class ProblemCode(StrEnum):
    """A code is never given another meaning, nor taken away; a newer version may know more."""

    BAD_REQUEST = "bad-request"
    MALFORMED_JSON = "malformed-json"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    WORKFLOW_UNKNOWN = "workflow-unknown"
    BATCH_UNKNOWN = "batch-unknown"
    SCHEDULE_UNKNOWN = "schedule-unknown"
    SERIES_UNKNOWN = "series-unknown"
    COLLECTION_UNKNOWN = "collection-unknown"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_TIMEOUT = "request-timeout"
    NOT_NOW = "not-now"
    INCOMPLETE = "incomplete"
    CONTENT_TOO_LARGE = "content-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    INVALID_INPUT = "invalid-input"
    SYMBOL_UNKNOWN = "symbol-unknown"
    CURSOR_UNKNOWN = "cursor-unknown"
    IDEMPOTENCY_KEY_REUSED = "idempotency-key-reused"
    NOT_POSSIBLE = "not-possible"
    HEADER_FIELDS_TOO_LARGE = "header-fields-too-large"
    INTERNAL_ERROR = "internal-error"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    CONFIGURATION = "configuration"


MEANINGS: dict[ProblemCode, str] = {
    ProblemCode.BAD_REQUEST: "the request is no well-formed HTTP request",
    ProblemCode.MALFORMED_JSON: "the body is not JSON",
    ProblemCode.UNAUTHORIZED: "the request carries no token that is known",
    ProblemCode.FORBIDDEN: "the token's role does not suffice, or the request comes from elsewhere",
    ProblemCode.NOT_FOUND: "there is nothing at the path, or nothing of that name",
    ProblemCode.WORKFLOW_UNKNOWN: "there is no workflow of that name",
    ProblemCode.BATCH_UNKNOWN: "there is no batch of that name",
    ProblemCode.SCHEDULE_UNKNOWN: "there is no schedule of that name",
    ProblemCode.SERIES_UNKNOWN: "nothing is known of the series",
    ProblemCode.COLLECTION_UNKNOWN: "there is no collection of that name",
    ProblemCode.METHOD_NOT_ALLOWED: "there is something at the path, but not for this method",
    ProblemCode.REQUEST_TIMEOUT: "the body did not arrive in time, or the client took nothing for too long",
    ProblemCode.NOT_NOW: "it is not possible in the present state; `detail` says what is",
    ProblemCode.INCOMPLETE: "the store holds fewer records than were proven to be there",
    ProblemCode.CONTENT_TOO_LARGE: "the body is too large",
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: "the body is not of a media type that is understood",
    ProblemCode.INVALID_INPUT: "an input is not acceptable; `errors` names it",
    ProblemCode.SYMBOL_UNKNOWN: "the exchange has no such symbol; `did_you_mean` may name what was meant",
    ProblemCode.CURSOR_UNKNOWN: "the server gave no such cursor, or what it names was removed",
    ProblemCode.IDEMPOTENCY_KEY_REUSED: "the Idempotency-Key came before with another request",
    ProblemCode.NOT_POSSIBLE: "it will never be possible as it was asked for",
    ProblemCode.HEADER_FIELDS_TOO_LARGE: "the request's address and headers are too large",
    ProblemCode.INTERNAL_ERROR: "the server failed; its log names the incident",
    ProblemCode.BUSY: "more is asked at once than is served: try again",
    ProblemCode.UNAVAILABLE: "bus, store, launcher or exchange do not answer: try again",
    ProblemCode.CONFIGURATION: "a setting or a file of the manager is wrong: its operator must act",
}
