"""The generated reference: from the code, the same each time, and checked; nothing is left out, and examples fit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from streamforge import workers
from streamforge.manager.catalogue import asyncapi, schemas
from streamforge_utils.runtime.life.environment import variables
from streamforge_utils.runtime.life.settings import WorkerSettings
from tests import cleanenv
from tests.places import ROOT
from tools.reference import reference_pages, settings_page
from tools.reference.cli_page import cli_page
from tools.reference.http_page import http_page
from tools.reference.reference_pages import openapi
from tools.reference.schema_tables import fields_table, sample
from tools.reference.topics_page import messages_page, topics_page

SCHEMAS = schemas.message_schemas()
API = openapi()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that holds what the reference writes to."""
    (tmp_path / "pyproject.toml").touch()
    shutil.copytree(ROOT / "services", tmp_path / "services", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_it_is_written_once_and_then_not_stale(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference_pages.main(["--root", str(checkout), "--check"]) == 1
    assert "reference: docs/reference/cli.md is stale: run `make docs`" in capsys.readouterr().err
    assert reference_pages.main(["--root", str(checkout)]) == 0
    assert "wrote docs/reference/cli.md" in capsys.readouterr().out
    assert reference_pages.main(["--root", str(checkout), "--check"]) == 0
    assert reference_pages.main(["--root", str(checkout)]) == 0
    assert capsys.readouterr().out == ""


def test_stale_and_left_over_pages_are_named_and_mended(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference_pages.main(["--root", str(checkout)])
    folder = checkout / "docs" / "reference"
    (folder / "schemas" / "gone.json").write_text("{}")
    (folder / "settings.md").write_text("old")
    readme = checkout / "services" / "arango-candles" / "README.md"
    readme.write_text("before\n<!-- environment: x -->\nold\n<!-- /environment -->\nafter\n")
    capsys.readouterr()
    assert reference_pages.main(["--root", str(checkout), "--check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "reference: docs/reference/schemas/gone.json is stale: run `make docs`",
        "reference: docs/reference/settings.md is stale: run `make docs`",
        "reference: services/arango-candles/README.md is stale: run `make docs`",
    ]
    assert reference_pages.main(["--root", str(checkout)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- environment: x -->\n\n| variable |"), "only what is between the markers"
    assert text.endswith("|\n\n<!-- /environment -->\nafter\n")
    assert "`SYMBOL`" in text
    assert "\nold\n" not in text
    assert not (folder / "schemas" / "gone.json").exists()
    assert reference_pages.main(["--root", str(checkout), "--check"]) == 0

    api = json.loads((folder / "openapi.json").read_text())
    assert api["openapi"].startswith("3.1")
    assert "/queues/start" in api["paths"]
    assert json.loads((folder / "asyncapi.json").read_text())["asyncapi"].startswith("3.")
    schema = json.loads((folder / "schemas" / "candle.json").read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    settings = (folder / "settings.md").read_text()
    for name in ("STREAMFORGE_DATA_DIR", "STREAMFORGE_TOKEN", "STREAMFORGE_LOG_FORMAT", "STREAMFORGE_UPSTREAM"):
        assert f"`{name}`" in settings


def test_every_command_has_a_section_with_usage_and_options() -> None:
    page = cli_page()
    for name in (
        *("load", "queues", "show", "events", "stop", "ping", "retry", "rm", "coverage", "export", "dlq list"),
        *("dlq replay", "targets", "schemas", "doctor", "exchange", "up"),
    ):
        assert f"\n## {name}\n\n```\nstreamforge {name} " in page
    assert "| `--again` |  | Load also what coverage says is stored. |" in page
    assert "\x1b" not in page


def test_elsewhere_than_in_a_checkout_it_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference_pages.main(["--root", str(tmp_path)]) == 2
    assert "is no checkout: name one with --root" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


_READS = re.compile(r"(?:environ(?:\.get\(|\[)|_present\(|required(?:: str)? ?= ?)\"((?:STREAMFORGE_|CI)[A-Z_]*)\"")


def _settings() -> str:
    """The tables of the services' READMEs and the page of what they share, which ends with the tests."""
    return "".join([*(table for _, table in settings_page.environments()), settings_page.settings_page()])


def _explained(text: str) -> list[str]:
    """The variables that have a row."""
    return re.findall(r"^\| `([A-Z_0-9]+)` \|", text, re.MULTILINE)


def test_a_setting_is_explained_once_and_every_service_names_what_it_reads() -> None:
    own = {name: set(_explained(table)) for name, table in settings_page.environments()}
    everybodys = {row.name for rows in settings_page.shared().values() for row in rows}
    assert own["loader-api-candles"] == {"STREAMFORGE_CONCURRENCY"}
    assert {"STREAMFORGE_MAX_RUNNING", "STREAMFORGE_HEARTBEAT_SECONDS"} < own["queue-manager"]
    # What has another default or meaning than for the others: in dummy-service and in the manager.
    assert own["dummy-service"] & everybodys == {"SYMBOL", "TYPE", "TIME_RANGE", "KAFKA_TOPIC"}
    assert not own["arango-candles"] & everybodys
    for target in workers.targets():
        read = {row.name for row in variables(WorkerSettings, uses=workers.definition(target).uses)}
        text = dict(settings_page.environments())[target]
        assert [name for name in sorted(read) if f"`{name}`" not in text] == []


def test_the_settings_hold_what_the_tests_read_and_what_is_refused() -> None:
    read = {name for path in (ROOT / "tests").rglob("*.py") for name in _READS.findall(path.read_text())}
    known = set(_explained(_settings()))
    # A password that one process of a test hands to another.
    read.discard("STREAMFORGE_TEST_PASSWORD")
    assert {"STREAMFORGE_CHAOS_ALL", "STREAMFORGE_MARKET_DATA", "CI"} <= read
    assert read - known == set()
    assert settings_page.TESTS.keys() - read == set(), "what no test reads (any more)"


def test_no_documented_setting_of_the_shell_reaches_a_test() -> None:
    services, tests = _settings().split("## The tests")
    documented = set(_explained(services))
    assert {"ARANGO_URL", "K8S_NAMESPACE", "KUBECONFIG", "BINANCE_API_KEY", "CA_PATH", "TYPE"} <= documented
    assert [name for name in sorted(documented) if not cleanenv.is_ours(name)] == []
    assert "STREAMFORGE_CHAOS_SEED" in tests


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
    assert len(blocks(page)) == 11
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
    jsonschema_rs.Draft202012Validator(whole).validate(sample(schema, API))


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
