"""Words the API server's refusals for a person: what was refused, why, and what to do."""

from __future__ import annotations

import re
from typing import Final

from streamforge_utils.adapters.kubernetes.api import Refused
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.launcher import JobSpec

_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_NAMESPACE_MISSING = re.compile(r'namespaces? "[^"]*" not found')
_NO_RIGHT = re.compile(r'cannot (\w+) resource "([^"]*)"')
_NOT_YET = re.compile("status unknown for quota|not yet ready to handle request")
"""A quota that has not been counted since it was made or changed; an API server that has not read enough to admit."""


DENIED_S: Final = 30.0
"""How long a right must be refused, without a pause, until it is taken for missing."""

_PAUSE_S = 15.0


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
