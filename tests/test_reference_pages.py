"""The pages about messages, topics and routes: nothing is left out, and every example fits its schema."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from streamforge.manager.describing import asyncapi, schemas
from tools.reference.http_page import http_page
from tools.reference.reference_pages import openapi
from tools.reference.schema_tables import fields_table, sample
from tools.reference.topics_page import messages_page, topics_page

SCHEMAS = schemas.message_schemas()
API = openapi()


def blocks(page: str) -> list[Any]:
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)]


def test_every_message_is_there_with_its_fields_and_examples() -> None:
    page = messages_page(SCHEMAS)
    assert blocks(page) == [example for schema in SCHEMAS.values() for example in schema["examples"]]
    for name, schema in SCHEMAS.items():
        assert f"\n## {schema['title']}\n" in page
        assert f"(schemas/{name}.json)" in page
        for field in schema["properties"]:
            assert f"| `{field}` |" in page
    assert "| `end_of_stream.records` | integer | **required** |" in page
    assert "fail-after" in page


def test_every_topic_is_there_with_keys_groups_and_examples() -> None:
    document = asyncapi.document()
    page = topics_page(document)
    for channel in document["channels"].values():
        assert f"\n## {channel['address']}\n" in page
    assert len(blocks(page)) == 5
    assert "Key: `__eos__`." in page
    assert "| group | QUEUE_ID-TARGET" in page
    assert "| `retention.ms` | -1 |" in page


def test_every_route_is_there_and_every_answer_and_request_has_an_example_that_fits() -> None:
    page = http_page(API)
    for path, methods in API["paths"].items():
        for method in methods:
            assert f"\n## {method.upper()} {path}\n" in page
            assert f"\n| [`{method.upper()} {path}`](#" in page
    for link in re.findall(r"\]\(#(\w+)\)", page):
        assert re.search(rf"^### {link}$", page, re.IGNORECASE | re.MULTILINE), link
    assert "```json" in page.partition("\n### Workflow\n")[2].partition("\n### ")[0]


@pytest.mark.parametrize("name", sorted(API["components"]["schemas"]))
def test_a_sample_fits_its_schema(name: str) -> None:
    schema = API["components"]["schemas"][name]
    whole = {"$ref": f"#/components/schemas/{name}", "components": API["components"]}
    jsonschema.Draft202012Validator(whole).validate(sample(schema, API))


def test_a_table_tells_limits_defaults_and_what_is_required() -> None:
    schema = {
        "properties": {
            "a": {"type": "integer", "minimum": 1, "description": "how | many."},
            "b": {"anyOf": [{"type": "string", "pattern": "^x$"}, {"type": "null"}], "default": "x"},
            "c": {"properties": {"d": {"enum": ["y", "z"]}}, "required": ["d"]},
        },
        "required": ["a"],
    }
    assert fields_table(schema, schema).splitlines()[2:] == [
        "| `a` | integer | **required** | how \\| many; at least `1` |",
        '| `b` | string or null | `"x"` | form `^x$` |',
        "| `c` | anything |  |  |",
        "| `c.d` | `y` or `z` | **required** |  |",
    ]
