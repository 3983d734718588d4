"""Pipelines by change: a service's jobs for its own files, those of all for what they share, none for documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import pytest

from tests.delivery.pipelines.checkout import Checkout
from tests.delivery.pipelines.test_gitlab import TEMPLATE
from tests.delivery.pipelines.tools import load, run
from tests.places import ROOT
from tools.changed_services import EVERY_SERVICE

MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event"}
DEFAULT_BRANCH = {"CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/.gitlab-ci.yml"))
LIBRARY = "libs/streamforge_utils/src/streamforge_utils/model/names.py"
UI = {"ui"}
"""Wherever an image is built that holds the wheel."""
BASES = {"build base", "inventory base", "build lean base", "inventory lean base"}
DEBUG, JUPYTER = {"build debug", "inventory debug"} | UI, {"build jupyter", "inventory jupyter"} | UI
TEST = {"test", "test ui"}
CODE = TEST | {"test library"}
CHANGES: list[tuple[str, list[str], set[str]]] = [
    *((f"services/{service}/app/main.py", [service], TEST | UI) for service in SERVICES),
    (
        "services/dummy-service/README.md services/queue-manager/Dockerfile",
        ["dummy-service", "queue-manager"],
        TEST | UI | {"site"},
    ),
    (LIBRARY, SERVICES, CODE | BASES | DEBUG | JUPYTER),
    ("platform/Dockerfile", SERVICES, CODE | BASES | DEBUG | JUPYTER),
    ("requirements/base.txt", SERVICES, CODE | BASES | DEBUG | JUPYTER),
    ("src/streamforge/workers/arango_candles.py", SERVICES, CODE | UI),
    ("src/streamforge/web/src/App.svelte", SERVICES, CODE | UI),
    ("pyproject.toml", SERVICES, CODE | UI),
    ("tools/torch_stubs.py", ["gnn-trainer"], TEST | UI),
    ("tests/workers/test_arango_candles.py", [], TEST),
    ("deploy/overlays/production/queue-manager.env", [], TEST),
    ("cred-kafka-yaml/kafka.yaml", [], TEST),
    ("deploy/README.md", [], TEST | {"site"}),
    ("docs/how-to/kafka.md", [], {"site"}),
    ("README.md", [], {"site"}),
    ("platform/debug/Dockerfile", [], DEBUG),
    ("platform/debug/kcat-settings.sh", [], DEBUG),
    ("platform/jupyter/Dockerfile", [], JUPYTER),
    ("platform/jupyterhub/notebooks/new.py", [], JUPYTER),
    ("platform/jupyterhub/values.yaml", [], set()),
]
"""Changed files, the services whose jobs a merge request runs for them, and its other jobs beside `check`."""


def github(repository: Checkout) -> list[str]:
    """The services that GitHub's workflow would run for the clone's last commit."""
    done = run([sys.executable, "tools/changed_services.py", "origin/main"], repository.folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def of_services(services: Iterable[str], *verbs: str) -> set[str]:
    return {f"{verb} {service}" for service in services for verb in verbs}


@pytest.mark.parametrize(("changed", "services", "others"), CHANGES)
def test_a_merge_request_runs_the_jobs_of_what_it_changes_and_no_others(
    changed: str, services: list[str], others: set[str], repository: Checkout
) -> None:
    repository.branch(*changed.split())
    expected = {"check"} | others | of_services(services, "test", "build", "inventory")
    assert repository.jobs(**MERGE_REQUEST).keys() == expected
    assert github(repository) == services


@pytest.mark.parametrize(
    ("changed", "tag"),
    [("services/arango-candles/Dockerfile", "$CI_DEFAULT_BRANCH"), (LIBRARY, "$CI_COMMIT_SHORT_SHA")],
)
def test_a_service_is_tested_in_the_base_that_its_pipeline_builds_or_else_in_the_latest(
    changed: str, tag: str, repository: Checkout
) -> None:
    repository.branch(changed)
    assert repository.preview(**MERGE_REQUEST)["variables"]["BASE_IMAGE_TAG"] == tag
    jobs = repository.jobs(**MERGE_REQUEST)
    bases = ["build base", "build lean base"]
    assert jobs["test arango-candles"]["needs"] == bases, "it waits for them where they are built"
    assert (set(bases) <= jobs.keys()) is (changed == LIBRARY)


def test_the_default_branch_builds_its_base_whatever_has_changed(repository: Checkout) -> None:
    """The push that changed the base may have failed: later ones would be built on an older base."""
    repository.branch("src/streamforge/workers/arango_candles.py")
    jobs = repository.jobs(**DEFAULT_BRANCH)
    assert {"build base", "build lean base", "build arango-candles"} <= jobs.keys()
    pipeline = repository.preview(**DEFAULT_BRANCH)
    assert pipeline["variables"]["BASE_IMAGE_TAG"] == "$CI_COMMIT_SHORT_SHA"
    for name in ("build base", "build lean base"):
        rule = next(rule for rule in pipeline[name]["rules"] if "CI_COMMIT_BRANCH" in rule.get("if", ""))
        assert rule["variables"]["MORE_TAGS"] == "$CI_DEFAULT_BRANCH"


@pytest.mark.parametrize("changed", ["docs/how-to/backup.md", ".devcontainer/Dockerfile", ".github/workflows/ci.yml"])
def test_what_a_manual_or_a_pipeline_says_is_tried_on_the_default_branch(changed: str, repository: Checkout) -> None:
    repository.branch(changed)
    assert "test engines" in repository.jobs(**DEFAULT_BRANCH)


def test_a_release_runs_everything_and_is_deployed_by_hand(repository: Checkout) -> None:
    jobs = repository.jobs(CI_COMMIT_TAG="v1.2.3")
    others = CODE | BASES | DEBUG | JUPYTER | {"check", "site", "test engines"}
    assert jobs.keys() == others | of_services(SERVICES, "test", "build", "inventory", "deploy")
    assert {jobs[f"deploy {service}"]["when"] for service in SERVICES} == {"manual"}
    assert repository.preview(CI_COMMIT_TAG="v1.2.3")["variables"]["BASE_IMAGE_TAG"] == "$CI_COMMIT_TAG"


@pytest.mark.parametrize("before", ["0" * 40, "1" * 40])
def test_github_runs_all_services_where_the_commit_before_is_unknown(before: str, repository: Checkout) -> None:
    """The first push of a branch names zeros, a forced one a commit that nobody has."""
    done = run([sys.executable, "tools/changed_services.py", before], repository.folder)
    assert (done.returncode, json.loads(done.stdout)) == (0, SERVICES)


def test_both_pipelines_name_the_same_files() -> None:
    (template,) = load(TEMPLATE)
    named = template[".when_all_services_change"]["rules"][-1]["changes"]
    own = (".gitlab", ".github")
    assert [name for name in named if not name.startswith(own)] == [
        name for name in EVERY_SERVICE if not name.startswith(own)
    ]
