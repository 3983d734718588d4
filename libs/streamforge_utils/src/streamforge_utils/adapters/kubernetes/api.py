"""Calls to the API server, repeated with jitter and a cap where that helps, and its refusals, worded for a person."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streamforge_utils.adapters.kubernetes.connections import ApiEndpoint, Connections, load_endpoint
from streamforge_utils.adapters.kubernetes.objects import Failure
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.job_settings import KubernetesSettings
from streamforge_utils.ports.launcher import JobSpec
from streamforge_utils.ports.retry import LONGEST_PAUSE_S, retry

if TYPE_CHECKING:
    from aiohttp import ClientResponse

REQUEST_S: Final = 10.0
"""How long one answer is waited for."""

PATIENCE_S: Final = 20.0
"""How long a call is repeated, from its first failure."""

_FIRST_PAUSE_S = 0.1
_AGAIN = frozenset({429, 500, 502, 503, 504})
_UNAUTHORIZED = 401
_ERRORS_FROM = 400
_SHOWN = 500
_RELOGIN_S = 10.0

_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409
_NAMESPACE_MISSING = re.compile(r'namespaces? "[^"]*" not found')
_NO_RIGHT = re.compile(r'cannot (\w+) resource "([^"]*)"')
_NOT_YET = re.compile("status unknown for quota|not yet ready to handle request")
"""A quota that has not been counted since it was made or changed; an API server that has not read enough to admit."""

DENIED_S: Final = 30.0
"""How long a right must be refused, without a pause, until it is taken for missing."""

_PAUSE_S = 15.0

Query = Mapping[str, str | int]
_failure = msgspec.json.Decoder(Failure)


class Refused(StreamForgeError):
    """The API server's answer was an error that a repetition does not mend. `reason`: of the Status, as `Forbidden`."""

    def __init__(self, status: int, failure: Failure, what: str) -> None:
        super().__init__(f"{what}: {failure.message[:_SHOWN] or failure.reason or 'no reason given'} (HTTP {status})")
        self.status = status
        self.reason = failure.reason
        self.message = failure.message[:_SHOWN]
        causes = None if failure.details is None else failure.details.causes
        self.causes = tuple(cause.reason for cause in causes or ())


class Api:
    """One connection pool to one API server, made at the first call."""

    def __init__(
        self, settings: KubernetesSettings, *, clock: Clock, observer: Observer, patience_s: float | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._client: Connections | None = None
        self._endpoint: ApiEndpoint | None = None
        self._opening = asyncio.Lock()
        self._logged_in = float("-inf")
        self._closed = False

    async def endpoint(self) -> ApiEndpoint:
        """Where the API server is. Raises ConfigError."""
        await self._opened()
        if self._endpoint is None:
            raise RuntimeError("not opened")
        return self._endpoint

    @property
    def namespace(self) -> str:
        """Where the Jobs are; known once `endpoint` is."""
        return "" if self._endpoint is None else self._endpoint.namespace

    @property
    def jobs_path(self) -> str:
        """The namespace's Jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    @property
    def pods_path(self) -> str:
        """The namespace's pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        accept: str = "application/json",
        patience_s: float | None = None,
        warnings: list[str] | None = None,
    ) -> bytes:
        """The answer's body. warnings: receives what the API server warns of.

        Raises Refused, RetryableError (it may or may not have been done; patience is spent) or ConfigError.
        """
        return await retry(
            lambda: self._once(method, path, query, body, accept, warnings),
            clock=self._clock,
            patience_s=self._patience_s if patience_s is None else patience_s,
            first_pause_s=_FIRST_PAUSE_S,
        )

    async def lines(
        self, path: str, *, query: Query, silent_s: float, begun: Callable[[], None]
    ) -> AsyncGenerator[bytes, None]:
        """The lines of an answer that goes on, as they come; ends when the other side ends it.

        begun: called once the other side has begun to answer, which may be long before the first line.
        silent_s: nothing for this long means that the other side is gone. Raises as `call` does, without repeating.
        """
        import aiohttp

        timeout = aiohttp.ClientTimeout(connect=REQUEST_S, sock_connect=REQUEST_S, sock_read=silent_s)
        response = await self._send("GET", path, query, None, "application/json", timeout)
        try:
            if response.status >= _ERRORS_FROM:
                raise await self._error(response, f"GET {path}")
            begun()
            rest = b""
            # In pieces, not by readline: that refuses lines beyond its buffer.
            async for piece in response.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    if line:
                        yield line
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(f"GET {path}", error) from error
        finally:
            _drop(response)

    async def close(self) -> None:
        """Close the connections; every later call raises RuntimeError."""
        self._closed = True
        await self._log_out()

    async def _log_out(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _once(
        self, method: str, path: str, query: Query | None, body: object, accept: str, warnings: list[str] | None
    ) -> bytes:
        import aiohttp

        what = f"{method} {path}"
        response = await self._send(method, path, query, body, accept, aiohttp.ClientTimeout(total=REQUEST_S))
        try:
            if response.status >= _ERRORS_FROM:
                raise await self._error(response, what)
            if warnings is not None:
                warnings += response.headers.getall("Warning", [])
            return await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(what, error) from error
        finally:
            _drop(response)

    async def _send(
        self, method: str, path: str, query: Query | None, body: object, accept: str, limits: Any
    ) -> ClientResponse:
        import aiohttp

        client = await self._opened()
        try:
            response = await client.request(method, path, query=query, body=body, accept=accept, limits=limits)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(f"{method} {path}", error) from error
        self._observer.count("kubernetes_requests_total", method=method, status=str(response.status))
        return response

    async def _error(self, response: ClientResponse, what: str) -> StreamForgeError:
        text = await response.read()
        try:
            failure = _failure.decode(text)
        except msgspec.MsgspecError:
            failure = Failure(code=response.status, message=text[:_SHOWN].decode(errors="replace"))
        if response.status == _UNAUTHORIZED:
            # Tokens are renewed: read it again, at most so often that a wrong one does no harm.
            if time.monotonic() - self._logged_in > _RELOGIN_S:
                await self._log_out()
            return RetryableError(
                f"{what}: the API server does not accept who asks (HTTP 401): is the kubeconfig's token or certificate "
                "still valid?",
                retry_after=1.0,
            )
        if response.status in _AGAIN:
            return RetryableError(
                f"{what}: {failure.message[:_SHOWN] or response.reason} (HTTP {response.status})",
                retry_after=_retry_after(response, failure),
            )
        return Refused(response.status, failure, what)

    async def _opened(self) -> Connections:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                self._endpoint = await load_endpoint(self._settings)
                if self._closed:
                    raise RuntimeError("the connections to the API server are closed")
                self._client = Connections(self._endpoint.configuration)
                self._logged_in = time.monotonic()
            return self._client


def _drop(response: ClientResponse) -> None:
    """Let go of an answer; where it was not read to its end, of its connection too, without the goodbye of TLS."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _unreachable(what: str, error: Exception) -> RetryableError:
    how = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return RetryableError(f"{what}: the API server of Kubernetes cannot be reached: {how}")


def _retry_after(response: ClientResponse, failure: Failure) -> float | None:
    text = response.headers.get("Retry-After", "")
    named = float(text) if text.isdecimal() else float(failure.details.retry_after_seconds if failure.details else 0)
    return min(named, LONGEST_PAUSE_S) or None


# Refusals


class Denials:
    """Decides whether a right that is refused is missing. An API server that has just started refuses every right until
    it has read the Roles, and its answers do not differ."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first = self._latest = float("-inf")

    def over(self) -> None:
        """Note that something was allowed."""
        self._latest = float("-inf")

    def error_of(self, refused: Refused, error: StreamForgeError) -> StreamForgeError:
        """`error`, which names what was refused, or a RetryableError while the right may only not be known yet."""
        if not _is_denied(refused):
            return error
        now = self._clock.monotonic()
        if now - self._latest > _PAUSE_S:
            self._first = now
        self._latest = now
        if now - self._first >= DENIED_S:
            return error
        return RetryableError(f"{error} (an API server that has just started refuses all rights for a moment)")


def _is_denied(refused: Refused) -> bool:
    return refused.status == _FORBIDDEN and _NO_RIGHT.search(refused.message) is not None


def create_refused(refused: Refused, spec: JobSpec, namespace: str) -> StreamForgeError:
    """Why a Job cannot be made: RetryableError where that may pass, ConfigError where something must be changed."""
    what = f"job {spec.name} cannot be started in namespace {namespace}"
    common = _common(refused, namespace)
    if common is not None:
        return ConfigError(f"{what}: {common}")
    if refused.status == _FORBIDDEN and "exceeded quota" in refused.message:
        return RetryableError(
            f"{what}: its quota is used up ({refused.message}): wait for other Jobs to be removed, or raise the "
            "ResourceQuota",
            retry_after=2.0,
        )
    why = refused.message or refused
    # A Job is charged to its quota by an update, which may lose against others that count there.
    conflict = refused.status == _CONFLICT and refused.reason == "Conflict"
    if conflict or (refused.status == _FORBIDDEN and _NOT_YET.search(refused.message)):
        return RetryableError(f"{what} at this moment: {why}", retry_after=1.0)
    return ConfigError(f"{what}: {why}")


def list_refused(refused: Refused, namespace: str) -> StreamForgeError:
    """Why the Jobs cannot be looked at."""
    return ConfigError(f"the Jobs in namespace {namespace} cannot be seen: {_common(refused, namespace) or refused}")


def _common(refused: Refused, namespace: str) -> str | None:
    if "NamespaceTerminating" in refused.causes or "is being terminated" in refused.message:
        return f"namespace {namespace} is being deleted: make it again, or name another one in K8S_NAMESPACE"
    if refused.status == _NOT_FOUND and _NAMESPACE_MISSING.search(refused.message):
        return (
            f"there is no namespace {namespace}: make it (kubectl create namespace {namespace}), or name another one "
            "in K8S_NAMESPACE"
        )
    right = _NO_RIGHT.search(refused.message)
    if right is not None and _is_denied(refused):
        return (
            f"a right is missing, {right[1]} {right[2]} ({refused.message}): give it by a Role; `streamforge doctor` "
            "lists all that are needed"
        )
    return None
