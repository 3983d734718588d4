"""The base image tests what it runs: the unit tests pass in it, and nothing is installed for them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.engines.crun import Asked, run
from tests.images.house import House
from tests.places import ROOT, SHARED

pytestmark = pytest.mark.timeout(900)

RECORDED = {
    "market-data": "STREAMFORGE_MARKET_DATA",
    "schemas": "STREAMFORGE_SCHEMAS",
    "arango/recordings.jsonl": "STREAMFORGE_ARANGO_RECORDINGS",
}
"""What tests read that is recorded, below one folder or where a variable says."""


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
    code, told = run(house.root("base"), asked, tmp_path, limit_s=400)
    assert code == 0, told[-6000:]
    print(f"images: in the base image: {told.strip().splitlines()[-1]}")


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
