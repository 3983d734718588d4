"""The rights that a manager needs in its namespace: the Role that ships gives no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec


class Right(msgspec.Struct, frozen=True):
    """A right to do something with objects of one kind. resource: with its part, as `pods/log`."""

    group: str
    resource: str
    verbs: tuple[str, ...]


RIGHTS: Final = (
    # Each attempt of a step is a Job, whose pods show how it ends; their logs and the events say why.
    Right("batch", "jobs", ("create", "get", "list", "watch", "delete")),
    Right("", "pods", ("list", "watch", "delete")),
    Right("", "pods/log", ("get",)),
    Right("", "events", ("list",)),
)


def role_rules() -> list[dict[str, Any]]:
    """The rules of a Role that gives these rights and no other."""
    return [{"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in RIGHTS]


def reviews(namespace: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """For each right its verb, its resource, and the body that asks the API server for it."""
    for right in RIGHTS:
        resource, _, part = right.resource.partition("/")
        for verb in right.verbs:
            attributes = {"namespace": namespace, "verb": verb, "group": right.group}
            spec = {"resourceAttributes": {**attributes, "resource": resource, "subresource": part}}
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec}
            yield verb, right.resource, body
