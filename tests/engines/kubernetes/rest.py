"""The API server for code that waits: one request at a time, as the administrator or with anyone's token."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

Object = dict[str, Any]
LIMIT_S = 180.0


class ApiError(Exception):
    """The API server refused. status: HTTP's; reason: Kubernetes' word, such as `AlreadyExists`."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @classmethod
    def of(cls, status: int, body: bytes) -> ApiError:
        """From an answer."""
        try:
            told = json.loads(body)
            return cls(status, str(told.get("reason", "")), str(told.get("message", "")))
        except (ValueError, AttributeError):
            return cls(status, "", body[:500].decode(errors="replace"))


class Rest:
    """Requests to one API server. pem: the client's key and certificate; token: a bearer token instead."""

    def __init__(self, host: str, port: int, ca: Path, *, pem: Path | None = None, token: str | None = None) -> None:
        self._address = (host, port)
        self._context = ssl.create_default_context(cafile=str(ca))
        if pem is not None:
            self._context.load_cert_chain(pem)
        self._token = token

    def text(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", limit_s: float = LIMIT_S
    ) -> str:
        """The answer to a request as it came. kind: the body's media type. Raises ApiError, OSError."""
        connection = http.client.HTTPSConnection(*self._address, timeout=limit_s, context=self._context)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            told = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the API server broke off: {error!r}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError.of(answer.status, told)
        return told.decode()

    def request(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", limit_s: float = LIMIT_S
    ) -> Object:
        """The answer to a request. Raises ApiError, OSError."""
        found: Object = json.loads(self.text(method, path, body, kind=kind, limit_s=limit_s))
        return found
