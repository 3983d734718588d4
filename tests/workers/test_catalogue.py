"""The catalogue of targets, with those that plugins define."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamforge import workers
from streamforge.manager.manager_settings import load_manager
from streamforge.manager.running_manager import worker_environment
from streamforge.manager.use_cases import StartRequest, StepRequest
from streamforge.manager.workflows.series import requests
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.plugins import PLUGINS, load_plugins, plugin_modules, unload_plugins
from streamforge_utils.runtime.life.environment import variables
from streamforge_utils.runtime.life.settings import WorkerSettings
from streamforge_utils.runtime.life.worker_definition import Role
from tests.cleanenv import environment
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


@pytest.mark.e2e
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


PLUGIN = '''
from typing import Annotated

import msgspec

from streamforge_utils.runtime.life.worker_definition import Definition, Role


class Parameters(msgspec.Struct, frozen=True):
    """None that matters."""

    depth: Annotated[int, msgspec.Meta(description="how deep it goes")] = 3


async def run(ctx):
    """Nothing."""


DEFINITION = Definition(
    target="deep-sink",
    summary="goes deep",
    role=Role.SINK,
    types=(),
    parameters=Parameters,
    uses=frozenset(),
    run=run,
)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "deep_sink.py"
    file.write_text(PLUGIN)
    return file


@pytest.mark.parametrize("default", [True, False])
def test_a_worker_that_can_work_on_a_type_joins_only_where_it_does_so_by_default(plugin: Path, default: bool) -> None:
    plugin.write_text(PLUGIN.replace("types=(),", f'types=("api_candles",), default={default},'))
    load_plugins({PLUGINS: str(plugin)})
    try:
        joined = {"deep-sink"} if default else set()
        assert set(requests.default_targets("api_candles_1m")) == {"arango-candles", "loader-api-candles", *joined}
        steps = (StepRequest(target="loader-api-candles"), StepRequest(target="deep-sink"))
        asked = StartRequest(symbol="BTCUSDT", type="api_candles_1m", time_range="2024-08-01", steps=steps)
        assert [step.target for step in requests.check(asked, now_ms=1_722_600_000_000).steps] == [
            "loader-api-candles",
            "deep-sink",
        ]
    finally:
        unload_plugins()


def ran(*arguments: str, plugins: str) -> subprocess.CompletedProcess[str]:
    environ = environment(STREAMFORGE_PLUGINS=plugins, COLUMNS="200")
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environ
    )


@pytest.mark.e2e
def test_it_is_in_the_catalogue_and_has_its_options(plugin: Path) -> None:
    helped = ran("streamforge.workers", "deep-sink", "--help", plugins=str(plugin))
    assert helped.returncode == 0, helped.stderr
    assert "--depth" in helped.stdout
    listed = ran("streamforge.cli", "targets", plugins=str(plugin.parent))
    assert listed.returncode == 0, listed.stderr
    assert "goes deep" in listed.stdout


@pytest.mark.e2e
@pytest.mark.parametrize("program", ["streamforge.workers", "streamforge.manager", "streamforge.cli"])
def test_a_plugin_that_is_not_there_stops_the_start_with_its_name(program: str, tmp_path: Path) -> None:
    ended = ran(program, plugins=str(tmp_path / "nowhere.py"))
    assert ended.returncode == 2
    assert "nowhere.py is no Python file and no folder" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_manager_hands_its_plugins_on_to_its_workers(plugin: Path, tmp_path: Path) -> None:
    settings = load_manager({"STREAMFORGE_DATA_DIR": str(tmp_path)})
    assert "STREAMFORGE_PLUGINS" not in worker_environment(settings)
    load_plugins({"STREAMFORGE_PLUGINS": f"{plugin}, {plugin.parent}"})
    try:
        assert worker_environment(settings)["STREAMFORGE_PLUGINS"] == str(plugin)
    finally:
        unload_plugins()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("plugin_broken.py", "1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero"),
        ("plugin_wrong.py", "def\n", "cannot be imported: SyntaxError"),
        ("json.py", "", "has the name of another module, json: rename the file"),
        ("plugin.txt", "", "is no Python file and no folder"),
    ],
)
def test_what_cannot_be_a_plugin_is_named_with_the_reason(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text)
    try:
        with pytest.raises(ConfigError, match=f"{name}.*{complaint}"):
            load_plugins({"STREAMFORGE_PLUGINS": str(tmp_path / name)})
        assert plugin_modules() == ()
    finally:
        unload_plugins()
