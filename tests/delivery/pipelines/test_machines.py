"""The machine of a pipeline, prepared before the verbs run: what its image lacks, and caches of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.pipelines.checkout import Checkout
from tests.delivery.pipelines.tools import load, needed
from tests.places import ROOT

BEFORE = {
    "make check": ("tools/install_promtool.sh", "make kube-build ONLY=kubectl"),
    "make test": (),
    "make test-e2e": (),
    "make test-engines": ("tools/install_engines.sh", "make kube-build"),
    "make test-gnn": ("tools/install_engines.sh",),
    "make test-long": ("tools/install_engines.sh", "make kube-build"),
    "make test-images": ("tools/install_engines.sh",),
    "make test-delivery": ("tools/install_engines.sh",),
}
"""What has to have run before a verb, on a machine that has nothing."""


def gitlab_jobs() -> dict[str, list[str]]:
    """The commands of GitLab's jobs that run verbs."""
    (found,) = load(ROOT / ".gitlab-ci.yml")
    return {name: job["script"] for name, job in found.items() if isinstance(job, dict) and "script" in job}


def github_jobs() -> dict[str, list[str]]:
    """The same for GitHub's."""
    (found,) = load(ROOT / ".github" / "workflows" / "ci.yml")
    return {name: [step.get("run", "") for step in job.get("steps", [])] for name, job in found["jobs"].items()}


@pytest.mark.parametrize("jobs", [gitlab_jobs, github_jobs])
@pytest.mark.parametrize("verb", BEFORE)
def test_what_a_verb_needs_is_installed_before_it_runs(jobs: Any, verb: str) -> None:
    scripts = [script for script in jobs().values() if any(runs(line, verb) for line in script)]
    assert scripts, f"no job runs {verb}"
    for script in scripts:
        at = next(number for number, line in enumerate(script) if runs(line, verb))
        for needed_before in BEFORE[verb]:
            assert any(needed_before in line for line in script[:at]), f"{needed_before} does not come before {verb}"


def runs(line: str, verb: str) -> bool:
    return re.search(rf"{verb}(?![\w-])", line.split(" #")[0]) is not None


@pytest.mark.parametrize("verb", ["make test-images", "make test-delivery"])
def test_what_builds_images_runs_as_root_where_jobs_are_not_root_already(verb: str) -> None:
    lines = [line for script in github_jobs().values() for line in script if verb in line]
    assert lines
    for line in lines:
        assert line.startswith('sudo -E env "PATH=$PATH" '), line


@pytest.mark.parametrize(("folder", "required"), [("", ""), ("/srv/schemas", "1")])
def test_schemas_are_required_where_their_folder_is_named(folder: str, required: str, tmp_path: Path) -> None:
    (gitlab,) = load(ROOT / ".gitlab-ci.yml")
    assert gitlab["variables"]["STREAMFORGE_SCHEMAS"]["value"] == "", "the repository names no folder of a machine"
    assert prepared(tmp_path, "exit 0", folder)[1] == required
    (github,) = load(ROOT / ".github" / "workflows" / "ci.yml")
    assert github["env"]["STREAMFORGE_SCHEMAS"] == "${{ vars.STREAMFORGE_SCHEMAS }}"
    assert github["env"]["STREAMFORGE_REQUIRE_SCHEMAS"] == "${{ vars.STREAMFORGE_SCHEMAS != '' && '1' || '' }}"


def test_a_kubectl_is_required_of_every_job_since_each_that_renders_manifests_builds_one() -> None:
    (gitlab,) = load(ROOT / ".gitlab-ci.yml")
    (github,) = load(ROOT / ".github" / "workflows" / "ci.yml")
    assert gitlab[".make"]["variables"]["STREAMFORGE_REQUIRE_KUBECTL"] == "1"
    assert github["env"]["STREAMFORGE_REQUIRE_KUBECTL"] == "1"


def prepared(tmp_path: Path, python: str, schemas: str = "") -> tuple[str, str]:
    """What the first commands of a GitLab job tell apt-get on a machine whose python3.11 is this script.

    Also what they make of STREAMFORGE_REQUIRE_SCHEMAS.
    """
    (found,) = load(ROOT / ".gitlab-ci.yml")
    told = tmp_path / "told"
    told.touch()
    for name, text in (("python3.11", python), ("apt-get", f'echo "$@" >>{told}')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = "set -eu\n" + "\n".join(found[".make"]["before_script"])
    script += '\nprintf %s "${STREAMFORGE_REQUIRE_SCHEMAS:-}"'
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "STREAMFORGE_SCHEMAS": schemas}
    done = subprocess.run(["sh", "-c", script], env=environment, check=True, timeout=60, capture_output=True, text=True)
    return told.read_text(), done.stdout


def test_a_python_that_can_make_no_environment_gets_what_it_lacks(tmp_path: Path) -> None:
    assert "install -qy --no-install-recommends python3-venv" in prepared(tmp_path, "exit 1")[0]


def test_nothing_is_installed_where_python_is_whole(tmp_path: Path) -> None:
    assert prepared(tmp_path, "exit 0") == ("", "")


def test_what_gitlab_caches_in_the_checkout_is_nobody_elses_to_read(repository: Checkout) -> None:
    """What git ignores is neither searched for secrets, nor linted, nor copied into clones."""
    job = repository.preview()["check"]
    kept = [*job["cache"][0]["paths"], job["variables"]["PIP_CACHE_DIR"], job["variables"]["XDG_CACHE_HOME"]]
    names = [name.removeprefix("$CI_PROJECT_DIR/") for name in kept]
    for name in names:
        ignored = repository.run([needed("git"), "check-ignore", "--quiet", f"{name}/Dockerfile"])
        assert ignored.returncode == 0, f"git does not ignore {name}"
    looked_at = (ROOT / "Makefile").read_text("utf-8").split("\ndockerfiles:")[1]
    assert all(f"-not -path './{name.partition('/')[0]}/*'" in looked_at for name in names)
