"""The page about the HTTP API: `http-api.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tools.reference.schema_tables import block, fields_table, resolved, sample, type_of

_INTRODUCTION = (
    "queue-manager serves it on port 8080; `openapi.json` says it for programs (OpenAPI 3.1), and a manager serves it "
    "at `/openapi.json`. Errors are problem documents (RFC 9457). A token, where one is needed, travels as "
    "`Authorization: Bearer TOKEN`; a reader may look, an operator may do everything."
)
_SHAPE = "Where an example holds `…` or 0, it shows the shape only."


def http_page(document: Mapping[str, Any]) -> str:
    """Every route with its parameters, its request and an example of its answer."""
    parts = ["# HTTP API", _INTRODUCTION, _routes(document)]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(document, path, method.upper(), operation)
    parts += ["## Answers", _SHAPE]
    for name in (*_answers(document), "Problem"):
        schema = document["components"]["schemas"][name]
        parts += [f"### {name}", str(schema.get("description", "")).strip(), fields_table(schema, document)]
        parts += [block(sample(schema, document))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _routes(document: Mapping[str, Any]) -> str:
    """A table of the routes that leads to their sections."""
    lines = ["| route | what it does |", "|---|---|"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            route = f"{method.upper()} {path}"
            anchor = re.sub(r"[^\w -]", "", route.lower()).replace(" ", "-")
            lines.append(f"| [`{route}`](#{anchor}) | {operation['summary']} |")
    return "\n".join(lines)


def _answers(document: Mapping[str, Any]) -> list[str]:
    """The names of what is answered if all goes well, each once."""
    found = [
        described["schema"]["$ref"].rpartition("/")[2]
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        for described in answer.get("content", {}).values()
        if int(status) < 300 and "$ref" in described.get("schema", {})
    ]
    return list(dict.fromkeys(found))


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method} {path}"
    roles = [role for one in operation.get("security", ()) for role in one.get("bearer", ())]
    yield f"{operation['summary']}. {'For: ' + ', '.join(roles) + '.' if roles else 'Open to everybody.'}"
    if operation.get("description"):
        yield str(operation["description"])
    if operation.get("parameters"):
        lines = ["| parameter | in | type | meaning |", "|---|---|---|---|"]
        for one in operation["parameters"]:
            needed = " (**required**)" if one.get("required") else ""
            cells = (
                f"`{one['name']}`{needed}",
                one["in"],
                type_of(one["schema"], document),
                one.get("description", ""),
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        yield "\n".join(lines)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        schema = resolved(body["schema"], document)
        yield "The request's body:"
        yield fields_table(schema, document)
        yield block(sample(body["schema"], document))
    for status, answer in operation["responses"].items():
        if int(status) < 300:
            yield from _answer(document, status, answer)
    codes = [status for status in operation["responses"] if int(status) >= 400]
    if codes:
        yield f"Errors, as [Problem](#problem): {', '.join(codes)}."


def _answer(document: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> Iterator[str]:
    content = answer.get("content", {})
    if not content:
        yield f"Answer {status}: {answer['description']}"
    for kind, described in content.items():
        name = described.get("schema", {}).get("$ref", "").rpartition("/")[2]
        what = f"[{name}](#{name.lower()})" if name else f"`{kind}`"
        yield f"Answer {status}, {what}: {answer['description']}"
        if "example" in described:
            yield f"```\n{str(described['example']).rstrip()}\n```"
