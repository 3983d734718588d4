"""JSON Schema as Markdown: tables of fields, and examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "minLength": "characters, at least",
    "maxLength": "characters, at most",
    "maxItems": "entries, at most",
    "pattern": "form",
}


def fields_table(schema: Schema, root: Schema) -> str:
    """The fields of an object, nested ones as `outer.inner`; no newline at the end."""
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field, needed in _fields(schema, root, ""):
        default = "**required**" if needed else _default(field)
        meaning = "; ".join([str(field.get("description", "")).rstrip("."), *_limits(field)]).strip("; ")
        lines.append(f"| `{name}` | {_cell(type_of(field, root))} | {_cell(default)} | {_cell(meaning)} |")
    return "\n".join(lines)


def type_of(schema: Schema, root: Schema) -> str:
    """The type in words."""
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if branches := _branches(schema):
        return " or ".join(type_of(branch, root) for branch in branches)
    found = resolved(schema, root)
    if found is not schema:
        return type_of(found, root) if "enum" in found else str(found.get("title", "object"))
    kind = schema.get("type", "anything")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(type_of(one, root) for one in schema['prefixItems'])}]"
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}), root)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def sample(schema: Schema, root: Schema) -> Any:
    """A value that fits: the schema's own example, or one put together from those of its fields."""
    for name in ("examples", "example", "default"):
        if name in schema and schema[name] is not None:
            return schema[name][0] if name == "examples" else schema[name]
    if "const" in schema or "enum" in schema:
        return schema["enum"][0] if "enum" in schema else schema["const"]
    if branches := _branches(schema):
        return sample(next((one for one in branches if one.get("type") != "null"), branches[0]), root)
    found = resolved(schema, root)
    if found is not schema:
        return sample(found, root)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {name: sample(field, root) for name, field in schema.get("properties", {}).items()}
    if kind == "array" and "prefixItems" in schema:
        return [sample(one, root) for one in schema["prefixItems"]]
    if kind == "array":
        return [sample(schema.get("items", {}), root)]
    least = schema.get("minimum", 0)
    return {"string": "…", "integer": least, "number": float(least), "boolean": False}.get(str(kind))


def resolved(schema: Schema, root: Schema) -> Schema:
    """What a reference stands for."""
    if not isinstance(name := schema.get("$ref"), str):
        return schema
    found: Any = root
    for part in name.removeprefix("#/").split("/"):
        found = found[part]
    return resolved(found, root)


def block(value: object) -> str:
    """A value as a block of JSON."""
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"


def _fields(schema: Schema, root: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield prefix + name, field, name in required
        inner = next((one for one in (field, *_branches(field)) if "properties" in one), None)
        if inner is not None:
            yield from _fields(inner, root, f"{prefix}{name}.")


def _branches(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def _limits(field: Schema) -> Iterator[str]:
    for one in (field, *_branches(field)):
        for name, words in _LIMITS.items():
            if name in one:
                yield f"{words} `{one[name]}`"


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value is None or value == "" else f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
