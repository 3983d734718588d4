"""The pins: each has hashes and names no index, markers are held against the Python that is asked for, and what cannot
be downloaded is told."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.places import ROOT
from tools.lock_check import PYTHONS, SYSTEMS, Pin, System, batches, download, main, needed, pins

FILES = sorted((ROOT / "requirements").glob("*.txt"))
LINUX, MACOS = SYSTEMS["linux-x86_64"], SYSTEMS["macos-arm64"]
HASH = f"--hash=sha256:{'0' * 64}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_every_pin_has_hashes_and_no_file_names_an_index(file: Path) -> None:
    text = file.read_text("utf-8")
    found = pins(text)
    assert len(found) == len(re.findall("==", re.sub(r";.*", "", text)))
    assert all(pin.hashes and str(pin.requirement.specifier).startswith("==") for pin in found)
    assert not re.search(r"://|^ *-(i|-index|-extra|-find|e) ?", text, re.MULTILINE)
    for python in PYTHONS:
        for system in SYSTEMS.values():
            for patch in (0, 99):
                names = [pin.requirement.name for pin in needed(found, f"{python}.{patch}", system)]
                assert len(names) == len(set(names)), "one version for each Python and system"


@pytest.mark.parametrize("line", ["-i nowhere", "thing==1.0", "thing", "-e ."])
def test_what_is_no_pin_with_hashes_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no pin with hashes"):
        pins(f"other==1.0 \\\n    {HASH}\n{line}\n")


@pytest.mark.parametrize(
    ("marker", "python", "system", "wanted"),
    [
        ("python_full_version < '3.13'", "3.12.9", LINUX, True),
        ("python_full_version < '3.13'", "3.13.0", LINUX, False),
        ("python_full_version < '3.11.3'", "3.11.2", LINUX, True),
        ("python_full_version < '3.11.3'", "3.11.3", LINUX, False),
        ("python_version >= '3.14'", "3.14.0", LINUX, True),
        ("python_version >= '3.14'", "3.11.9", LINUX, False),
        ("sys_platform == 'darwin'", "3.12.0", LINUX, False),
        ("sys_platform == 'darwin' and platform_machine == 'arm64'", "3.12.0", MACOS, True),
        ("platform_python_implementation == 'PyPy'", "3.12.0", MACOS, False),
    ],
)
def test_markers_are_held_against_what_is_asked_for(marker: str, python: str, system: System, wanted: bool) -> None:
    listed = pins(f"thing==1.0 ; {marker} \\\n    {HASH}\n")
    assert needed(listed, python, system) == (listed if wanted else [])


def test_what_only_an_older_release_needs_is_had_as_well() -> None:
    old, new = f"thing==1.0 ; python_full_version < '3.11.5' \\\n    {HASH}\n", f"other==1.0 \\\n    {HASH}\n"
    found = [[pin.requirement.name for pin in batch] for batch in batches(pins(old + new), "3.11", LINUX)]
    assert found == [["other"], ["thing"]]


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in place of an index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path


def wheel(folder: Path, tags: str) -> Pin:
    """A wheel, and the pin of it."""
    path = folder / f"thing-1.0-{tags}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Pin(Requirement("thing==1.0"), (f"--hash=sha256:{digest}",))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("tags", "had"),
    [
        ("py3-none-any", {"3.11 Linux", "3.13 Linux", "3.13 Darwin"}),
        ("cp313-cp313-manylinux_2_17_x86_64", {"3.13 Linux"}),
        ("cp311-abi3-manylinux_2_28_x86_64", {"3.11 Linux", "3.13 Linux"}),
        ("cp313-cp313-manylinux_2_39_x86_64", set[str]()),
        ("cp313-cp313-macosx_11_0_arm64", {"3.13 Darwin"}),
    ],
)
def test_a_wheel_is_had_where_it_fits(wheels: Path, tags: str, had: set[str]) -> None:
    pin = wheel(wheels, tags)
    cases = [("3.11", LINUX), ("3.13", LINUX), ("3.13", MACOS)]
    found = {
        f"{python} {system.platform_system}" for python, system in cases if download([pin], python, system) is None
    }
    assert found == had


@pytest.mark.e2e
def test_a_wheel_of_another_hash_is_refused(wheels: Path) -> None:
    pin = wheel(wheels, "py3-none-any")
    said = download([pin._replace(hashes=(HASH,))], "3.12", LINUX)
    assert said is not None
    assert "DO NOT MATCH THE HASHES" in said


@pytest.mark.e2e
def test_a_file_whose_wheels_cannot_be_had_is_named(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site.txt", "--python", "3.12", "--system", "linux-arm64"]) == 1
    assert "lock-check: site.txt, Python 3.12, linux-arm64: FAILED" in capsys.readouterr().out
