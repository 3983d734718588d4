"""The devcontainer as it is written: its file is valid by its schema, read by the program that VS Code uses, and names
what is there; its packages are those that the distribution has.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft201909Validator

from tests.delivery.pipelines.tools import TOOLS, node_program, run
from tests.places import ROOT, schemas

FOLDER = ROOT / ".devcontainer"
HAS = ["openjdk-17-jre-headless", "default-jre-headless", "kcat", "kafkacat"]


def configuration() -> dict[str, Any]:
    """What @devcontainers/cli reads; no Docker is there, nor needed for it."""
    done = run(
        [
            "env",
            "--unset=STREAMFORGE_DEVCONTAINER_BASE",
            "--unset=STREAMFORGE_DEVCONTAINER_BASE_TAG",
            "--unset=STREAMFORGE_DEVCONTAINER_SSH",
            *node_program("devcontainer"),
            "read-configuration",
            "--workspace-folder",
            str(ROOT),
            "--docker-path",
            "/bin/true",
        ],
        ROOT,
        {"HOME": "/home/somebody"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["configuration"]
    assert isinstance(found, dict)
    return found


def test_it_is_valid_by_its_schema() -> None:
    schema = json.loads(schemas("devcontainer", "devContainer.base.schema.json").read_text("utf-8"))
    validator = Draft201909Validator(schema)
    text = re.sub(r"^\s*//.*$", "", (FOLDER / "devcontainer.json").read_text("utf-8"), flags=re.MULTILINE)
    found = json.loads(text)
    assert [error.message for error in validator.iter_errors(found)] == []
    assert not validator.is_valid({**found, "postCreate": "true"})


def test_the_devcontainer_program_reads_it() -> None:
    found = configuration()
    assert found["remoteUser"] == "dev"
    assert found["build"]["args"]["BASE_IMAGE"] == "docker.io/library/ubuntu:22.04"
    assert found["mounts"][0] == "source=/home/somebody/.kube,target=/mnt/host-kube,type=bind,readonly"
    for command in ("postCreateCommand", "postStartCommand"):
        assert (ROOT / found[command]).stat().st_mode & 0o111, f"{found[command]} cannot be run"


def test_the_server_is_off_unless_it_is_asked_for() -> None:
    assert configuration()["containerEnv"] == {"STREAMFORGE_DEVCONTAINER_SSH": ""}
    assert "STREAMFORGE_DEVCONTAINER_SSH:-} == 1" in (FOLDER / "post-start.sh").read_text("utf-8")


def test_every_image_and_download_has_a_version() -> None:
    text = (FOLDER / "Dockerfile").read_text("utf-8")
    images = re.findall(r"^ARG \w+_IMAGE=(\S+)$", text, re.MULTILINE)
    assert len(images) == 5
    for image in images:
        assert re.search(r":v?\d[\w.-]*$", image), f"{image} has no version"
    assert not re.search(r"https?://", text)


def test_the_pinned_uv_knows_the_pinned_python() -> None:
    """uv downloads it and checks it against the hash that uv holds; which releases it holds needs no network."""
    (version,) = re.findall(
        r"^ARG PYTHON_VERSION=(3\.11\.\d+)$", (FOLDER / "Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    for system in ("linux-x86_64-gnu", "linux-aarch64-gnu"):
        wanted = f"cpython-{version}-{system}"
        done = run(
            [str(TOOLS / "bin" / "uv"), "python", "list", "--offline", "--no-config", "--show-urls", wanted], ROOT
        )
        assert done.returncode == 0, done.stderr
        assert re.search(rf"^{re.escape(wanted)} +https://\S+$", done.stdout, re.MULTILINE), done.stdout


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
