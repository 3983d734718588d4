"""What a manager must be allowed to do in its namespace: no more than that is in the Role that ships."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be done with objects of one kind. resource: with its part, as `pods/log`. why: for a person."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


RIGHTS: Final = (
    Right(
        group="batch",
        resource="jobs",
        verbs=("create", "get", "list", "watch", "delete"),
        why="each attempt of a step is a Job",
    ),
    Right(group="", resource="pods", verbs=("list", "watch", "delete"), why="to see how workers end, and to end them"),
    Right(group="", resource="pods/log", verbs=("get",), why="to say what a worker wrote last"),
    Right(group="", resource="events", verbs=("list",), why="to say why a worker does not begin"),
)


def role_rules() -> list[dict[str, Any]]:
    """The rules of a Role that gives these rights and no other."""
    return [{"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in RIGHTS]


def reviews(namespace: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """For each right its verb, its resource, and the question whether who asks has it."""
    for right in RIGHTS:
        resource, _, part = right.resource.partition("/")
        for verb in right.verbs:
            attributes = {
                "namespace": namespace,
                "verb": verb,
                "group": right.group,
                "resource": resource,
                "subresource": part,
            }
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            yield verb, right.resource, body
