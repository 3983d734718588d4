"""The inventory beside each image names what is in it: its packages as pinned, Debian's, and the programs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.images.house import CREATED, REVISION, House
from tests.images.storage import DEBIAN
from tests.places import ROOT
from tools import images, sbom

NAMES = [image.name for image in images.images()]
PIN = re.compile(r"^[A-Za-z0-9._-]+==[^\\\n]+", re.MULTILINE)
SYSTEM = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux", "os_name": "posix"}


def pins(*files: str) -> set[tuple[str, str]]:
    """What requirements files pin for this system."""
    lines = PIN.findall("\n".join((ROOT / "requirements" / file).read_text("utf-8") for file in files))
    found = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate(SYSTEM)]
    return {(canonicalize_name(one.name), str(one.specifier).removeprefix("==")) for one in found}


def test_what_is_no_inventory_is_refused() -> None:
    with pytest.raises(sbom.InventoryError, match=r"no valid CycloneDX.*componentz"):
        sbom.checked('{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "componentz": []}')


def inventory(house: House, name: str) -> Any:
    return json.loads((house.beside() / f"{name}.cdx.json").read_text("utf-8"))


def packages(found: Any, kind: str) -> set[tuple[str, str]]:
    return {
        (canonicalize_name(one["name"]) if kind == "pypi" else one["name"], one["version"])
        for one in found["components"]
        if one["purl"].startswith(f"pkg:{kind}/")
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_inventory_names_the_image_and_the_distribution_s_packages(name: str, house: House) -> None:
    found = inventory(house, name)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    about = found["metadata"]["component"]
    assert f"{about['name']}:{about['version']}" == house.reference(name)
    assert {one["value"] for one in about["properties"]} == {"debian", "12"}
    assert {"libc6", "python3.11", "tini", "ca-certificates"} <= {package for package, _ in packages(found, "deb")}
    assert not {"gcc", "gcc-12", "binutils", "python3-dev", "libc6-dev"} & {
        package for package, _ in packages(found, "deb")
    }


@pytest.mark.parametrize(
    ("name", "files", "ours"),
    [
        ("base-lean", ["base.txt"], {"streamforge-utils"}),
        ("base", ["base.txt", "test.txt"], {"streamforge-utils"}),
        ("queue-manager", ["base.txt", "test.txt"], {"streamforge-utils", "streamforge-market-data"}),
        (
            "gnn-trainer",
            ["base.txt", "test.txt", "graph.txt", "gnn.txt"],
            {"streamforge-utils", "streamforge-market-data"},
        ),
        ("debug", ["base.txt"], {"streamforge-utils", "streamforge-market-data"}),
        ("jupyter", ["base.txt", "jupyter.txt"], {"streamforge-utils", "streamforge-market-data"}),
    ],
)
def test_the_packages_are_those_that_are_pinned(name: str, files: list[str], ours: set[str], house: House) -> None:
    number = images.version().removeprefix("v")
    assert packages(inventory(house, name), "pypi") == pins(*files) | {(one, number) for one in ours}


@pytest.mark.parametrize("name", ["queue-manager", "arango-candles", "debug", "jupyter"])
def test_the_web_ui_is_inside_and_its_packages_are_named(name: str, house: House) -> None:
    assert "svelte" in {package for package, _ in packages(inventory(house, name), "npm")}


@pytest.mark.parametrize("name", ["debug", "jupyter"])
def test_programs_that_are_no_package_are_named_too(name: str, house: House) -> None:
    assert {package for package, _ in packages(inventory(house, name), "generic")} == {"kubectl", "helm"}


@pytest.mark.parametrize("name", NAMES)
def test_the_labels_say_what_was_built_and_when(name: str, house: House) -> None:
    found = house.storage.inspect(house.reference(name))
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in found["config"]["Labels"].items()}
    version = house.reference(name).rpartition(":v")[2].removesuffix("-lean")
    assert labels["version"] == version
    assert labels["revision"] == REVISION
    assert labels["created"] == found["created"] == "2025-06-15T15:06:40Z"
    assert CREATED == 1_750_000_000
    assert labels["licenses"] == "Apache-2.0"
    assert labels["title"]
    on = next(one for one in images.images() if one.name == name).on
    assert labels["base.name"] == (house.reference(on["BASE_IMAGE"]) if on else DEBIAN)
