"""The API server's refusals in words for a person: what was refused, why, and what to do. Pure."""

from __future__ import annotations

import re
from typing import Final

from streamforge_utils.adapters.kubernetes.api import Refused
from streamforge_utils.model.errors import ConfigError, RetryableError, StreamForgeError
from streamforge_utils.ports.launcher import JobSpec

_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_NAMESPACE_MISSING = re.compile(r'namespaces? "[^"]*" not found')
_NO_RIGHT = re.compile(r'cannot (\w+) resource "([^"]*)"')


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
    return ConfigError(f"{what}: {refused.message or refused}")


def list_refused(refused: Refused, namespace: str) -> StreamForgeError:
    """Why the Jobs cannot be looked at."""
    return ConfigError(f"the Jobs in namespace {namespace} cannot be seen: {_common(refused, namespace) or refused}")


def _common(refused: Refused, namespace: str) -> str | None:
    if "NamespaceTerminating" in refused.causes or "is being terminated" in refused.message:
        return f"namespace {namespace} is being deleted: make it anew, or name another one in K8S_NAMESPACE"
    if refused.status == _NOT_FOUND and _NAMESPACE_MISSING.search(refused.message):
        return (
            f"there is no namespace {namespace}: make it (kubectl create namespace {namespace}), or name another one "
            "in K8S_NAMESPACE"
        )
    right = _NO_RIGHT.search(refused.message)
    if refused.status == _FORBIDDEN and right is not None:
        return (
            f"a right is missing, {right[1]} {right[2]} ({refused.message}): give it by a Role; `streamforge doctor` "
            "lists all that are needed"
        )
    return None
