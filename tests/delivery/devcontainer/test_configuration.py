"""devcontainer.json: valid by its schema, read by the program that VS Code uses, and naming what is there."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft201909Validator

from tests.delivery.pipelines.tools import TOOLS, node_program, run
from tests.places import ROOT, schemas

FOLDER = ROOT / ".devcontainer"


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
