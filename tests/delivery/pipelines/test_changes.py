"""What a change makes run: a service's jobs for its own files, all services' for what they share, none for docs."""

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

pytestmark = pytest.mark.timeout(300)  # seconds on a quiet machine, and each is a start of Node.js
MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event"}
EVERYTHING = [
    "libs/streamforge_utils/src/streamforge_utils/model/names.py",
    "src/streamforge/workers/arango_candles.py",
    "platform/Dockerfile",
    "requirements/base.txt",
    "pyproject.toml",
]
NOTHING = [
    "docs/kafka.md",
    "README.md",
    "tests/workers/test_arango_candles.py",
    "deploy/README.md",
    "platform/debug/Dockerfile",
]


def verbs(jobs: Iterable[str], services: list[str]) -> dict[str, set[str]]:
    """What is done with which service."""
    found: dict[str, set[str]] = {}
    for name in jobs:
        verb, _, service = name.partition(" ")
        if service in services:
            found.setdefault(service, set()).add(verb)
    return found


def github(repository: Checkout) -> list[str]:
    """The services that GitHub's workflow would run for the clone's last commit."""
    done = run([sys.executable, "tools/changed_services.py", "origin/main"], repository.folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("service", sorted(path.parent.name for path in ROOT.glob("services/*/.gitlab-ci.yml")))
def test_a_change_in_a_service_runs_the_jobs_of_that_service_alone(
    service: str, repository: Checkout, services: list[str]
) -> None:
    repository.branch(f"services/{service}/app/main.py")
    assert verbs(repository.jobs(**MERGE_REQUEST), services) == {service: {"test", "build", "inventory"}}
    assert github(repository) == [service]


@pytest.mark.parametrize("changed", EVERYTHING)
def test_a_change_of_what_all_services_share_runs_the_jobs_of_all(
    changed: str, repository: Checkout, services: list[str]
) -> None:
    repository.branch(changed)
    assert verbs(repository.jobs(**MERGE_REQUEST), services) == {
        name: {"test", "build", "inventory"} for name in services
    }
    assert github(repository) == services


@pytest.mark.parametrize("changed", NOTHING)
def test_a_change_of_anything_else_runs_no_service(changed: str, repository: Checkout, services: list[str]) -> None:
    repository.branch(changed)
    assert verbs(repository.jobs(**MERGE_REQUEST), services) == {}
    assert github(repository) == []


def test_a_change_in_two_services_runs_both(repository: Checkout, services: list[str]) -> None:
    repository.branch("services/dummy-service/README.md", "services/queue-manager/Dockerfile")
    assert sorted(verbs(repository.jobs(**MERGE_REQUEST), services)) == ["dummy-service", "queue-manager"]
    assert github(repository) == ["dummy-service", "queue-manager"]


def test_a_change_in_a_service_never_builds_the_base(repository: Checkout) -> None:
    repository.branch("services/arango-candles/Dockerfile")
    assert "build base" not in repository.jobs(**MERGE_REQUEST)
    assert repository.preview(**MERGE_REQUEST)["variables"]["BASE_IMAGE_TAG"] == "$CI_DEFAULT_BRANCH"


def test_a_change_of_the_library_builds_the_base_and_uses_that_one(repository: Checkout) -> None:
    repository.branch("libs/streamforge_utils/src/streamforge_utils/model/names.py")
    jobs = repository.jobs(**MERGE_REQUEST)
    assert {"build base", "build lean base"} <= jobs.keys()
    assert jobs["test arango-candles"]["needs"] == ["build base", "build lean base"]
    assert repository.preview(**MERGE_REQUEST)["variables"]["BASE_IMAGE_TAG"] == "$CI_COMMIT_SHORT_SHA"


@pytest.mark.parametrize("changed", ["deploy/overlays/production/queue-manager.env", "cred-kafka-yaml/kafka.yaml"])
def test_a_change_of_manifests_runs_the_tests_of_code(changed: str, repository: Checkout) -> None:
    repository.branch(changed)
    assert sorted(repository.jobs(**MERGE_REQUEST)) == ["check", "test"]


def test_the_default_branch_builds_its_base_whatever_has_changed(repository: Checkout) -> None:
    """The push that changed the base may have failed: later ones would be built on an older base."""
    repository.branch("src/streamforge/workers/arango_candles.py")
    there = {"CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
    jobs = repository.jobs(**there)
    assert {"build base", "build lean base", "build arango-candles"} <= jobs.keys()
    pipeline = repository.preview(**there)
    assert pipeline["variables"]["BASE_IMAGE_TAG"] == "$CI_COMMIT_SHORT_SHA"
    for name in ("build base", "build lean base"):
        rule = next(rule for rule in pipeline[name]["rules"] if "CI_COMMIT_BRANCH" in rule.get("if", ""))
        assert rule["variables"]["MORE_TAGS"] == "$CI_DEFAULT_BRANCH"


def test_documents_are_checked_and_made_into_the_site(repository: Checkout) -> None:
    repository.branch("docs/kafka.md")
    assert sorted(repository.jobs(**MERGE_REQUEST)) == ["check", "site"]


@pytest.mark.parametrize("changed", ["docs/backup.md", ".devcontainer/Dockerfile", ".github/workflows/ci.yml"])
def test_what_a_manual_or_a_pipeline_says_is_tried_on_the_default_branch(changed: str, repository: Checkout) -> None:
    repository.branch(changed)
    assert "test engines" in repository.jobs(CI_COMMIT_BRANCH="main", CI_DEFAULT_BRANCH="main")


@pytest.mark.parametrize(
    ("changed", "built"),
    [
        ("platform/debug/kcat-settings.sh", {"build debug"}),
        ("platform/jupyter/Dockerfile", {"build jupyter"}),
        ("platform/jupyterhub/notebooks/new.py", {"build jupyter"}),
        ("platform/jupyterhub/values.yaml", set()),
        ("services/dummy-service/Dockerfile", {"build dummy-service"}),
    ],
)
def test_a_tools_image_is_built_when_its_files_change(changed: str, built: set[str], repository: Checkout) -> None:
    repository.branch(changed)
    assert {name for name in repository.jobs(**MERGE_REQUEST) if name.startswith("build ")} == built


def test_a_release_runs_everything_and_is_deployed_by_hand(repository: Checkout, services: list[str]) -> None:
    jobs = repository.jobs(CI_COMMIT_TAG="v1.2.3")
    assert verbs(jobs, services) == {name: {"test", "build", "inventory", "deploy"} for name in services}
    assert {jobs[f"deploy {service}"]["when"] for service in services} == {"manual"}
    others = {"check", "build base", "build lean base", "build debug", "build jupyter", "test", "test engines"}
    assert others <= jobs.keys()
    assert repository.preview(CI_COMMIT_TAG="v1.2.3")["variables"]["BASE_IMAGE_TAG"] == "$CI_COMMIT_TAG"


@pytest.mark.parametrize("before", ["0" * 40, "1" * 40])
def test_github_runs_all_services_where_the_commit_before_is_unknown(
    before: str, repository: Checkout, services: list[str]
) -> None:
    """The first push of a branch names zeros, a forced one a commit that nobody has."""
    done = run([sys.executable, "tools/changed_services.py", before], repository.folder)
    assert (done.returncode, json.loads(done.stdout)) == (0, services)


def test_both_pipelines_name_the_same_files() -> None:
    (template,) = load(TEMPLATE)
    named = template[".when_all_services_change"]["rules"][-1]["changes"]
    own = (".gitlab", ".github")
    assert [name for name in named if not name.startswith(own)] == [
        name for name in EVERY_SERVICE if not name.startswith(own)
    ]
