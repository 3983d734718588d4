"""A change rebuilds what it must and nothing below it, and the same sources give the same layers again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.images.house import House
from tests.places import ROOT

CONTEXT = ("LICENSE", "pyproject.toml", ".dockerignore", "libs", "platform", "requirements", "services", "src", "tools")
SERVICE = "arango-candles"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what images are built from, to change it."""
    for name in CONTEXT:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__", "build")
            )
        else:
            (tmp_path / "copy").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def differing(before: list[str], after: list[str]) -> list[int]:
    """Which layers differ, counted from the last one: -1, -2, …"""
    assert len(before) == len(after)
    return [place - len(before) for place, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1]


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")


def test_a_service_is_the_base_and_two_layers(house: House) -> None:
    base = house.layers("base")
    for name in ("arango-candles", "dummy-service", "loader-api-candles", "queue-manager"):
        own = house.layers(name)
        assert own[: len(base)] == base
        assert len(own) == len(base) + 2, "the wheel, and what starts it"
    wheels = {house.layers(name)[-2] for name in ("arango-candles", "dummy-service", "queue-manager")}
    assert len(wheels) == 1, "one wheel, stored once"


def test_a_changed_service_rebuilds_its_last_layers_only(house: House, checkout: Path) -> None:
    append(checkout / "src" / "streamforge" / "workers" / "arango_candles.py", "\n# Changed.\n")
    told = house.build("base", SERVICE, root=checkout, registry="changed.test")
    assert house.layers("base", "changed.test") == house.layers("base")
    assert differing(house.layers(SERVICE), house.layers(SERVICE, "changed.test")) == [-2]
    assert "Successfully installed" not in told, "nothing is installed for it"
    assert "Fetched" not in told

    append(checkout / "services" / SERVICE / "app" / "main.py", "\n# Changed.\n")
    house.build(SERVICE, root=checkout, registry="changed.test")
    assert differing(house.layers(SERVICE), house.layers(SERVICE, "changed.test")) == [-2, -1]


def test_a_changed_library_leaves_the_dependencies(house: House, checkout: Path) -> None:
    append(
        checkout / "libs" / "streamforge_utils" / "src" / "streamforge_utils" / "model" / "names.py", "\n# Changed.\n"
    )
    house.build("base", root=checkout, registry="library.test")
    assert differing(house.layers("base"), house.layers("base", "library.test")) == [-1]


def test_the_same_sources_give_the_same_layers_again(house: House) -> None:
    house.build("base", registry="again.test")
    house.build(SERVICE, registry="again.test", options=["--no-cache"])
    assert house.layers(SERVICE, "again.test") == house.layers(SERVICE)


def test_sizes_and_layers_are_told(house: House) -> None:
    known: dict[str, str] = {}
    for name in house.names():
        sizes = house.storage.sizes(house.reference(name))
        shared = [digest for digest in sizes if digest in known]
        own = sum(size for digest, size in sizes.items() if digest not in known) / 1e6
        known |= dict.fromkeys(sizes, name)
        print(f"images: {name}: {sum(sizes.values()) / 1e6:.0f} MB, {own:.1f} MB of it in layers of its own", end="")
        print(f" ({len(shared)} of {len(sizes)} layers shared)")
        assert shared or name == "base"
