"""Which packages are asked for, by what the distribution has; the package manager is a stand-in that notes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.places import ROOT

HAS = ["openjdk-17-jre-headless", "default-jre-headless", "kcat", "kafkacat"]


def asked(tmp_path: Path, script: str, *absent: str, programs: tuple[str, ...]) -> set[str]:
    """What the script has apt-get install as root of a distribution that lacks these packages."""
    told = tmp_path / "told"
    has = " ".join(name for name in HAS if name not in absent)
    texts = {
        "apt-get": f'case "$1" in install) shift; echo "$@" >>{told} ;; esac',
        "apt-cache": f'for one in {has}; do [ "$2" != "$one" ] || echo "$2 | 1.0 | here"; done',
        "id": "echo 0",
        **dict.fromkeys(("mkdir", "rm", "ln", *programs), ":"),  # nothing of this machine is touched
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run(["bash", str(ROOT / script)], env=environment, check=True, timeout=60, capture_output=True)
    return {word for word in told.read_text().split() if not word.startswith("-")}


@pytest.mark.parametrize("script", [".devcontainer/install/packages.sh", "tools/install_engines.sh"])
def test_java_is_17_where_there_is_one_and_the_distributions_own_elsewhere(script: str, tmp_path: Path) -> None:
    programs = ("promtool", "go", "kcat", "kafkacat")
    for name, absent, expected in (
        ("debian-12", (), {"openjdk-17-jre-headless"}),
        ("debian-13", ("openjdk-17-jre-headless",), {"default-jre-headless"}),
    ):
        (tmp_path / name).mkdir()
        found = asked(tmp_path / name, script, *absent, programs=programs)
        assert {package for package in found if "jre" in package} == expected
        assert "rsync" in found
