"""The folder of workers is the catalogue."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamforge import workers
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.runtime.environment import variables
from streamforge_utils.runtime.settings import WorkerSettings
from streamforge_utils.runtime.worker_definition import Role
from tests.limits import LIMIT_S
from tests.places import ROOT
from tools.reference.settings_page import environment_table

TARGETS = workers.targets()


def test_the_targets_are_known() -> None:
    assert {"loader-api-candles", "arango-candles", "dummy-service"} <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_every_file_defines_the_target_of_its_name_and_ships_as_a_service(target: str) -> None:
    definition = workers.definition(target)
    assert definition.target == target
    assert definition.summary
    assert definition.types or definition.role is Role.DIAGNOSTIC
    definition.parameters()  # every parameter has a default
    read = {item.name for item in variables(definition.parameters)}
    assert not read & {item.name for item in variables(WorkerSettings)}
    described = definition.json_schema()["$defs"][definition.parameters.__name__]["properties"]
    assert set(described) == set(definition.parameters.__struct_fields__)
    assert all("description" in entry and "default" in entry for entry in described.values())
    folder = ROOT / "services" / target
    assert f'main(["{target}"' in (folder / "app" / "main.py").read_text()
    assert environment_table(definition) in (folder / "README.md").read_text()


@pytest.mark.parametrize("target", ["nope", "../x", "__init__", "--debug", "loader_api_candles", ""])
def test_an_unknown_target_is_refused_with_the_choices(target: str) -> None:
    with pytest.raises(InvalidInput, match="arango-candles"):
        workers.definition(target)


def test_a_worker_imports_its_own_file_only_and_no_http_client() -> None:
    script = (
        "import sys, streamforge.workers.__main__ as m; from streamforge import workers;"
        "workers.definition('arango-candles');"
        "heavy = {'aiohttp', 'pydantic', 'fastapi', 'typer', 'rich', 'streamforge.manager', 'streamforge.cli',"
        " 'streamforge.workers.loader_api_candles', 'streamforge_utils.adapters'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout.strip() == "[]"
