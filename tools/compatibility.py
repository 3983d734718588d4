"""Fails when a message or a route changes in a way that breaks those who send or read the frozen version of it.

A field may be added. None may be removed, change its type, its default or its description (which holds its unit),
become stricter, required (of what others send) or optional (of what they read): who needs that makes a new version.
`--freeze` adds what is new to docs/contracts, and takes over descriptions whose words but not meaning changed;
it refuses all else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from streamforge.manager.catalogue import asyncapi, schemas
from tools.reference.reference_pages import openapi

ROOT = Path(__file__).resolve().parent.parent
VERSION = "v1"
FOLDER = Path("docs") / "contracts" / VERSION
_EXACT = ("const", "format", "pattern", "default")
_LEAST, _MOST = (
    ("minimum", "exclusiveMinimum", "minLength", "minItems"),
    ("maximum", "exclusiveMaximum", "maxLength", "maxItems"),
)
_METHODS = ("get", "put", "post", "delete", "patch")
_NOTHING = object()

Schema = Mapping[str, Any]


class Way(Enum):
    """What others do with a value: they send it, they read it, or both."""

    SENT = "sent"
    READ = "read"
    BOTH = "both"


def broken(before: Schema, now: Schema, where: str = "") -> Iterator[str]:
    """What of the JSON Schema `now` breaks those who rely on `before`; each names its place."""
    yield from _broken(before, now, where, before, now, Way.BOTH)


def _broken(
    before: Schema, now: Schema, where: str, old_root: Schema, new_root: Schema, way: Way, seen: tuple[str, ...] = ()
) -> Iterator[str]:
    reference_before, place = before.get("$ref"), where or "the whole"
    if isinstance(reference_before, str):
        if reference_before in seen:
            return
        seen = (*seen, reference_before)
    before, now = _resolved(before, old_root), _resolved(now, new_root)
    old_types, new_types = set(_types(before).split(" or ")), set(_types(now).split(" or "))
    # Who sends a value may send it as ever if more is taken; who reads one knows what comes if less is given.
    accepted = (way is Way.SENT and old_types <= new_types) or (way is Way.READ and new_types <= old_types)
    if old_types != new_types and not accepted:
        yield f"{place}: its type was {_types(before)} and is {_types(now)}"
        return
    for name in _EXACT:
        if name == "default" and way is Way.READ:
            continue  # it says nothing of what is always there
        if before.get(name, _NOTHING) != now.get(name, _NOTHING):
            yield f"{place}: {name} was {before.get(name)!r} and is {now.get(name)!r}"
    for name in (*_LEAST, *_MOST):
        old, new = before.get(name), now.get(name)
        if new is not None and (old is None or (new > old if name in _LEAST else new < old)):
            yield f"{place}: {name} was {old!r} and is {new!r}, which is stricter"
    if "enum" in before and (gone := [value for value in before["enum"] if value not in now.get("enum", ())]):
        yield f"{place}: the values {gone} are gone"
    fields, new_fields = before.get("properties", {}), now.get("properties", {})
    needed, needed_before = set(now.get("required", ())), set(before.get("required", ()))
    for name in sorted(needed - needed_before if way is not Way.READ else ()):
        yield f"{_join(where, name)}: it has become required"
    for name in sorted((needed_before - needed) & set(new_fields) if way is not Way.SENT else ()):
        yield f"{_join(where, name)}: it was always there, and need not be any more"
    for name, field in fields.items():
        if name in new_fields:
            yield from _broken(field, new_fields[name], _join(where, name), old_root, new_root, way, seen)
        else:
            yield f"{_join(where, name)}: it is gone"
    for name in ("items", "additionalProperties"):
        if isinstance(before.get(name), Mapping) and isinstance(now.get(name), Mapping):
            yield from _broken(before[name], now[name], f"{where}[]", old_root, new_root, way, seen)
    for name in ("anyOf", "oneOf", "allOf"):
        for old, new in zip(before.get(name, ()), now.get(name, ()), strict=False):
            yield from _broken(old, new, where, old_root, new_root, way, seen)


def reworded(before: Schema, now: Schema, where: str = "") -> Iterator[str]:
    """The fields whose description changed."""
    for name, field in before.get("properties", {}).items():
        new = now.get("properties", {}).get(name)
        if new is not None:
            if field.get("description") != new.get("description"):
                yield f"{_join(where, name)}: its description changed; if its meaning did not: --freeze"
            yield from reworded(field, new, _join(where, name))


def broken_routes(before: Schema, now: Schema) -> Iterator[str]:
    """What of the OpenAPI document `now` breaks clients of `before`."""
    for path, methods in before["paths"].items():
        for method in (name for name in methods if name in _METHODS):
            where = f"{method.upper()} {path}"
            operation = now["paths"].get(path, {}).get(method)
            if operation is None:
                yield f"{where}: it is gone"
            else:
                yield from _broken_operation(methods[method], operation, where, before, now)


def _broken_operation(before: Schema, now: Schema, where: str, old_root: Schema, new_root: Schema) -> Iterator[str]:
    old = {(one["in"], one["name"]): one for one in before.get("parameters", ())}
    new = {(one["in"], one["name"]): one for one in now.get("parameters", ())}
    for key, one in old.items():
        if key not in new:
            yield f"{where}, parameter {key[1]}: it is gone"
        else:
            place = f"{where}, parameter {key[1]}"
            yield from _broken(one.get("schema", {}), new[key].get("schema", {}), place, old_root, new_root, Way.SENT)
    for key, one in new.items():
        if one.get("required") and not old.get(key, {}).get("required"):
            yield f"{where}, parameter {key[1]}: it has become required"
    sides = [("the request", Way.SENT, before.get("requestBody", {}), now.get("requestBody", {}))]
    for status, answer in before.get("responses", {}).items():
        if status not in now.get("responses", {}):
            yield f"{where}: it answers {status} no more"
        else:
            sides.append((f"the answer {status}", Way.READ, answer, now["responses"][status]))
    for side, way, one, other in sides:
        for kind, content in one.get("content", {}).items():
            if kind not in other.get("content", {}):
                yield f"{where}, {side}: {kind} is gone"
                continue
            schema, new_schema = content.get("schema", {}), other["content"][kind].get("schema", {})
            yield from _broken(schema, new_schema, f"{where}, {side}", old_root, new_root, way)


def broken_topics(before: Schema, now: Schema) -> Iterator[str]:
    """What of the AsyncAPI document `now` breaks those on the topics of `before`; messages have schemas."""
    for name, channel in before["channels"].items():
        new = now["channels"].get(name)
        if new is None or new["address"] != channel["address"]:
            yield f"topic {channel['address']}: it is gone"
            continue
        for message in channel["messages"]:
            if message not in new["messages"]:
                yield f"topic {channel['address']}: {message} does not travel on it any more"
    for name, message in before["components"]["messages"].items():
        new = now["components"]["messages"].get(name, {})
        if new and (message.get("contentType"), message.get("bindings")) != (
            new.get("contentType"),
            new.get("bindings"),
        ):
            yield f"message {name}: its content type or its key changed"


def current() -> dict[str, dict[str, Any]]:
    """What the code says now, by the name of its file."""
    messages = {f"messages/{name}": schema for name, schema in schemas.message_schemas().items()}
    return {**messages, "asyncapi": asyncapi.document(), "openapi": openapi()}


def frozen(folder: Path) -> dict[str, dict[str, Any]]:
    """What was promised."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): json.loads(path.read_text("utf-8"))
        for path in sorted(folder.rglob("*.json"))
    }


def compare(before: Mapping[str, Schema], now: Mapping[str, Schema]) -> tuple[list[str], list[str]]:
    """What is broken, and which descriptions changed; each begins with the name of its document."""
    breaks: list[str] = []
    words: list[str] = []
    for name, old in before.items():
        if name not in now:
            breaks.append(f"{name}: it is gone")
            continue
        judge = {"openapi": broken_routes, "asyncapi": broken_topics}.get(name, broken)
        breaks += [f"{name}: {problem}" for problem in judge(old, now[name])]
        if judge is broken:
            words += [f"{name}: {problem}" for problem in reworded(old, now[name])]
    return breaks, words


def main(arguments: list[str] | None = None) -> int:
    """Compare with what is frozen, or freeze: 1 if something is broken."""
    parser = argparse.ArgumentParser(description="Compare messages and routes with the frozen version of them.")
    parser.add_argument("--freeze", action="store_true", help="take over what is new, if nothing is broken")
    parser.add_argument("--folder", type=Path, default=ROOT / FOLDER)
    given = parser.parse_args(arguments)
    folder: Path = given.folder
    before, now = frozen(folder), current()
    if not before and not given.freeze:
        print(f"compatibility: {folder} holds nothing: run it with --freeze", file=sys.stderr)
        return 1
    breaks, words = compare(before, now)
    problems = breaks if given.freeze else [*breaks, *words]
    for problem in problems:
        print(f"compatibility: {VERSION}: {problem}", file=sys.stderr)
    if problems:
        return 1
    if given.freeze:
        for name, schema in now.items():
            path = folder / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", "utf-8")
        print(f"compatibility: {len(now)} documents are frozen in {folder}")
    else:
        print(f"compatibility: {len(before)} documents keep {VERSION}")
    return 0


def _resolved(schema: Schema, root: Schema) -> Schema:
    while isinstance(name := schema.get("$ref"), str):
        found: Any = root
        for part in name.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/")]
        schema = found
    return schema


def _types(schema: Schema) -> str:
    if "anyOf" in schema or "oneOf" in schema:
        branches = schema.get("anyOf") or schema["oneOf"]
        return " or ".join(_types(branch) for branch in branches)
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = schema.get("type", "anything")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


if __name__ == "__main__":
    sys.exit(main())
