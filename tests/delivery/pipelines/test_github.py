"""GitHub's workflows: valid by the schema, with actions that cannot change behind their name, and the same verbs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.pipelines.tools import errors, load
from tests.places import ROOT

WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
ACTIONS = sorted(ROOT.glob(".github/actions/*/action.yml"))


def steps(path: Path) -> list[dict[str, Any]]:
    (found,) = load(path)
    jobs = found["jobs"].values() if "jobs" in found else [found["runs"]]
    return [step for job in jobs for step in job.get("steps", [])]


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_workflow_is_valid_by_githubs_schema(path: Path) -> None:
    (found,) = load(path)
    assert errors(found, "github-action" if path.name == "action.yml" else "github-workflow") == []


def test_the_schema_refuses_what_github_does() -> None:
    assert errors({"on": "push", "jobs": {"a": {"runs-on": "x", "step": []}}}, "github-workflow") != []


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_action_of_others_is_pinned_by_its_commit(path: Path) -> None:
    for step in steps(path):
        used = step.get("uses", "./")
        assert used.startswith("./") or re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used), used
    for line in path.read_text("utf-8").splitlines():
        if re.search(r"@[0-9a-f]{40}", line):
            assert re.search(r"# v\d+\.\d+\.\d+$", line), f"{line.strip()}: it does not say which version that is"


def test_a_workflow_may_read_the_repository_and_no_more() -> None:
    for path in WORKFLOWS:
        (found,) = load(path)
        assert found["permissions"] == {"contents": "read"}, path.name
        assert not any("permissions" in job for job in found["jobs"].values()), path.name


def test_no_command_holds_what_somebody_else_wrote() -> None:
    """An expression within a command would be run as part of it; values go through the environment."""
    for path in [*WORKFLOWS, *ACTIONS]:
        for step in steps(path):
            assert "${{" not in step.get("run", ""), f"{path.name}: {step['run']}"


def test_it_logs_in_and_pushes_only_where_a_registry_is_named() -> None:
    """Who lives there without a registry has no login, and gets a green pipeline all the same."""
    pushing = [step for path in WORKFLOWS for step in steps(path) if re.search(r"buildah (login|push)", str(step))]
    assert len(pushing) == 2
    assert {step["if"] for step in pushing} == {"github.event_name == 'push' && vars.IMAGE_REGISTRY != ''"}


def test_an_image_has_the_time_of_its_commit() -> None:
    scripts = [step["run"] for path in WORKFLOWS for step in steps(path) if "buildah build " in step.get("run", "")]
    assert len(scripts) == 2
    assert all('--build-arg CREATED="$CREATED"' in script for script in scripts)
    named = [step["run"] for path in WORKFLOWS for step in steps(path) if "CREATED=" in step.get("run", "")]
    assert 'echo "CREATED=$(git log -1 --format=%cI)" >> "$GITHUB_ENV"' in named[0]


def test_the_web_ui_is_built_before_the_image_that_holds_it() -> None:
    scripts = [step.get("run", "") for step in steps(ROOT / ".github" / "workflows" / "python-service.yml")]
    (building,) = [at for at, script in enumerate(scripts) if "services/$SERVICE/Dockerfile" in script]
    assert "make ui" in scripts[:building]


def test_github_runs_the_verbs_that_gitlab_runs() -> None:
    on_github = {word for path in WORKFLOWS for step in steps(path) for word in made(step.get("run", ""))}
    (gitlab,) = load(ROOT / ".gitlab-ci.yml")
    on_gitlab = {
        word
        for job in gitlab.values()
        if isinstance(job, dict)
        for line in job.get("script", [])
        for word in made(line)
    }
    assert on_github == on_gitlab
    rules = (ROOT / "Makefile").read_text("utf-8")
    (everything,) = re.findall(r"^test-all:.*\n\t@\$\(MAKE\) (.*)$", rules, re.MULTILINE)
    # The site is a part of test-delivery, and by itself for documents; the demo is a part of test, and by itself to be
    # seen; the UI is a part of test-ui, and by itself for images; its pictures are in the site.
    assert on_gitlab == {*everything.split(), "kube-build", "demo", "pictures", "site", "ui"}
    for verb in on_gitlab:
        assert re.search(rf"^{verb}:", rules, re.MULTILINE), verb


def made(text: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z][a-z-]*)", text))
