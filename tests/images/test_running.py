"""The rights and limits of every container of an image, shown in the container itself.

The base image tests what it runs: the unit tests pass in it, and nothing is installed for them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.engines.crun import Asked, run
from tests.images.house import House
from tests.places import ROOT, SHARED

SERVICES = ("arango-candles", "dummy-service", "loader-api-candles", "queue-manager")
PYTHON_IMAGES = ("base", "base-lean", *SERVICES, "gnn-trainer")

LOOK = """
import errno, json, os, pathlib, shutil

refused = {}
for folder in ("/", "/app", "/opt/streamforge/lib", "/etc", "/usr/bin", "/var"):
    try:
        pathlib.Path(folder, "written").touch()
    except OSError as error:
        refused[folder] = errno.errorcode[error.errno]
pathlib.Path("/tmp/written").touch()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
ours = [path for top in ("/opt", "/app", "/usr/local") for path in pathlib.Path(top).rglob("*")]
compilers = ("cc", "gcc", "g++", "c++", "clang", "ld", "as", "make", "go", "rustc")
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "refused": refused,
    "home": os.path.expanduser("~"),
    "first": open("/proc/1/comm").read().strip(),
    "capabilities": status["CapEff"].strip(),
    "new_privileges": status["NoNewPrivs"].strip(),
    "compilers": [name for name in compilers if shutil.which(name)],
    "setuid": [str(path) for path in ours if path.lstat().st_mode & 0o6000],
    "writable": [str(path) for path in ours if not path.is_symlink() and path.stat().st_mode & 0o022],
    "not root's": [str(path) for path in ours if path.lstat().st_uid],
}))
"""

RECORDED = {
    "market-data": "STREAMFORGE_MARKET_DATA",
    "schemas": "STREAMFORGE_SCHEMAS",
    "arango/recordings.jsonl": "STREAMFORGE_ARANGO_RECORDINGS",
}
"""What tests read that is recorded, below one folder or where a variable says."""


@pytest.mark.parametrize("name", PYTHON_IMAGES)
def test_an_image_runs_as_nobody_special_on_a_root_it_cannot_write_to(name: str, house: House, tmp_path: Path) -> None:
    looking = Asked(entrypoint=["/usr/bin/tini", "--", "python3.11", "-c", LOOK])
    code, told = run(house.root(name), looking, tmp_path)
    assert code == 0, told
    found = json.loads(told)
    assert found == {
        "ids": [1001, 1001, []],
        "refused": dict.fromkeys(("/", "/app", "/opt/streamforge/lib", "/etc", "/usr/bin", "/var"), "EROFS"),
        "home": "/tmp",
        "first": "tini",
        "capabilities": "0000000000000000",
        "new_privileges": "1",
        "compilers": [],
        "setuid": [],
        "writable": [],
        "not root's": [],
    }
    config = house.storage.inspect(house.reference(name))["config"]
    assert config["User"] == "1001:1001", "by number: Kubernetes cannot tell whether a name is root"
    assert config["Entrypoint"][:2] == ["/usr/bin/tini", "--"]


def test_a_service_lives_and_ends_in_its_container(house: House, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    settings = {"QUEUE_ID": "wf-dummy-api_candles_1m-20240801-abc123", "STREAMFORGE_DATA_DIR": "/data"}
    asked = Asked(arguments=["--noop"], environment=settings, binds={"/data": data})
    code, told = run(house.root("dummy-service"), asked, tmp_path)
    assert code == 0, told
    assert "finished" in told


def asked_for() -> list[str]:
    """What the pipelines run in the base image: TESTS of each service and of the library."""
    files = [ROOT / ".gitlab-ci.yml", *sorted(ROOT.glob("services/*/.gitlab-ci.yml"))]
    lines = [found for file in files for found in re.findall(r"^ *TESTS: (tests/.*)$", file.read_text("utf-8"), re.M)]
    assert len(lines) == len(files), "one for each service, one for the library"
    return sorted({path for line in lines for path in line.split()})


def test_the_tests_of_the_pipelines_pass_in_the_base_image(house: House, tmp_path: Path) -> None:
    binds = {"/checkout:ro": ROOT}
    for name, variable in RECORDED.items():
        there = Path(os.environ.get(variable) or SHARED / name)
        if there.exists():
            binds[f"/shared/{name}:ro"] = there
    asked = Asked(
        entrypoint=["/usr/bin/tini", "--", "run-tests", "-n", "2", "-q", *asked_for()],
        environment={variable: f"/shared/{name}" for name, variable in RECORDED.items()},
        binds=binds,
        directory="/checkout",
    )
    code, told = run(house.root("base"), asked, tmp_path, limit_s=900)
    assert code == 0, told[-6000:]
    print(f"images: in the base image: {told.strip().splitlines()[-1]}")


def test_networks_learn_in_the_image_of_gnn_trainer(house: House, tmp_path: Path) -> None:
    learning = [f"tests/gnn/test_{name}.py" for name in ("attention", "boosted_trees", "layers")]
    asked = Asked(
        entrypoint=["/usr/bin/tini", "--", "run-tests", "-n", "2", "-q", *learning],
        binds={"/checkout:ro": ROOT},
        directory="/checkout",
    )
    code, told = run(house.root("gnn-trainer"), asked, tmp_path, limit_s=900)
    assert code == 0, told[-6000:]
    print(f"images: in the image of gnn-trainer: {told.strip().splitlines()[-1]}")


def test_the_packages_of_the_base_image_fit_together(house: House, tmp_path: Path) -> None:
    asked = Asked(entrypoint=["python3.11", "-m", "pip", "check"])
    assert run(house.root("base"), asked, tmp_path) == (0, "No broken requirements found.\n")


@pytest.mark.parametrize("name", ["base", "base-lean"])
def test_the_library_is_an_installed_wheel_whose_bytecode_is_there(name: str, house: House, tmp_path: Path) -> None:
    script = (
        "import json, importlib.metadata as m, streamforge_utils.model.names as n\n"
        "found = m.distribution('streamforge_utils')\n"
        "print(found.read_text('INSTALLER').strip(), n.__file__, n.__cached__)\n"
        "import pathlib; assert pathlib.Path(n.__cached__).stat().st_size\n"
    )
    code, told = run(house.root(name), Asked(entrypoint=["python3.11", "-c", script]), tmp_path)
    assert code == 0, told
    assert told.split()[0] == "pip"
    assert told.split()[1].startswith("/opt/streamforge/lib/python3.11/site-packages/streamforge_utils/")


def test_the_lean_base_has_no_tools_of_tests_nor_of_installers(house: House, tmp_path: Path) -> None:
    script = "import importlib.util as u; print([n for n in ('pytest', 'pip', 'hatchling', 'httpx') if u.find_spec(n)])"
    asked = Asked(entrypoint=["python3.11", "-c", script])
    assert run(house.root("base-lean"), asked, tmp_path) == (0, "[]\n")
    assert run(house.root("base"), asked, tmp_path) == (0, "['pytest', 'pip', 'hatchling', 'httpx']\n")
