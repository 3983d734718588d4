"""What `make ui` builds: the same bytes each time, its licences beside it, and nothing else in the wheel."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.e2e import rig
from tests.limits import LIMIT_S
from tests.places import ROOT
from tests.ui.conftest import Opened
from tests.ui.test_screens import seen, url_of

WEB = ROOT / "src" / "streamforge" / "web"
FIRST_ROUTE_BYTES = 150_000
FIRST_ROUTE_REQUESTS = 30


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
def test_two_builds_are_equal(tmp_path: Path) -> None:
    # Where it is built must not count either.
    for name in ("one", "another"):
        command = ["tools/ui.sh", "npx", "vite", "build", "--logLevel", "warn", "--outDir", str(tmp_path / name)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=LIMIT_S)
    assert contents(tmp_path / "one") == contents(tmp_path / "another") == contents(WEB / "dist")


def test_what_is_inside_is_named_with_its_licence() -> None:
    text = (WEB / "dist" / "THIRD-PARTY.txt").read_text()
    components = json.loads((WEB / "dist" / "sbom.cdx.json").read_text())["components"]
    named = {(one["name"], one["licenses"][0]["license"]["id"]) for one in components}
    assert named >= {("svelte", "MIT"), ("lightweight-charts", "Apache-2.0")}
    assert all(f"{one['name']} {one['version']} (" in text for one in components)
    assert "Permission is hereby granted" in text


def test_what_is_built_names_no_other_place() -> None:
    files = contents(WEB / "dist")
    assert str(ROOT).encode() not in b"".join(files.values())
    assert files["index.html"].count(b"http") == files["index.html"].count(b"http://www.w3.org/2000/svg")


def test_the_first_route_is_small(empty: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(empty))
    seen(page, "Workflows")
    loaded = page.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    parts = ["index.html", *(path.removeprefix("/ui/") for path in loaded if path.startswith("/ui/"))]
    screens = {path.stem for path in (WEB / "src" / "screens").glob("*.svelte")}
    scripts = {path.removeprefix("assets/").partition("-")[0] for path in parts if path.endswith(".js")}
    assert scripts & {*screens, "en", "ru"} == {"Workflows", "en"}
    assert sum(len(gzip.compress((WEB / "dist" / path).read_bytes())) for path in parts) < FIRST_ROUTE_BYTES
    assert len(loaded) < FIRST_ROUTE_REQUESTS


def test_the_wheel_has_what_is_built_and_no_source() -> None:
    builder = WheelBuilder(str(ROOT))
    paths = {Path(included.distribution_path) for included in builder.recurse_included_files()}
    web = {path.relative_to("streamforge/web") for path in paths if path.is_relative_to("streamforge/web")}
    assert web == {Path("dist") / path for path in contents(WEB / "dist")}
